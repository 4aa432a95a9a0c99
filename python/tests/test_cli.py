"""The command line: help, errors, inspect, check, replay, diff, doctor."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_program import HANG, environment, run, start
from conftest import Case, case

import modelserve as ms
from modelserve.cli import COMMANDS

pytest.importorskip("rich", reason="needs modelserve[cli]")


@pytest.fixture
def rows(iris: Case, tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d"])
        writer.writerows(iris.expected["rows"])
    return path


def test_help_lists_the_commands_and_each_has_its_own() -> None:
    ended = start("-m", "modelserve", "--help")
    assert ended.code == 0 and not ended.err
    for name, summary in COMMANDS.items():
        assert f"  {name} " in ended.out and summary in ended.out
    for name in COMMANDS:
        ended = run(name, "--help")
        assert ended.code == 0 and ended.out.startswith(f"usage: modelserve {name} ")
        assert "examples:" in ended.out and "--json " in ended.out


def test_usage_errors(tmp_path: Path) -> None:
    run("inspekt").refuses("unknown command 'inspekt'", "did you mean 'inspect'?")
    run().refuses("usage: modelserve COMMAND")
    run("inspect", tmp_path / "none.onnx").refuses("none.onnx: No such file or directory")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom modelserve.cli import main\n"
        "try: main(['serve', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'rich', 'uvicorn', 'pyarrow', 'matplotlib', 'onnx', 'sklearn', 'pandas',"
        " 'asyncio'} & set(sys.modules)), file=sys.stderr)"
    )
    loaded = start("-c", program).err.strip()
    # asyncio comes with the package itself.
    assert loaded in ("[]", "['asyncio']")


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [("rich", ["doctor"], "cli"), ("uvicorn", ["serve", "."], "server")],
)
def test_a_missing_package_is_told_with_its_extra(
    package: str, arguments: list[str], extra: str
) -> None:
    program = (
        f"import sys\nsys.modules['{package}'] = None\n"
        f"from modelserve.cli import main\nsys.exit(main({arguments!r}))"
    )
    start("-c", program).refuses(package, f"pip install 'modelserve[{extra}]'")


def test_inspect(iris: Case, tmp_path: Path) -> None:
    ended = start("-m", "modelserve", "inspect", iris.path.parent)
    assert ended.code == 0 and not ended.err and "\x1b" not in ended.out
    digest = ms.load(iris.path).info().digest
    for word in ("classifier, 3 classes", "float32[?, 4]", "label", "int64[?]", digest):
        assert word in ended.out
    layers = run("inspect", case("digits_mlp_safetensors").path, "--json").data
    assert layers["format"] == "safetensors" and layers["graph"] is None
    assert len(layers["feature_names"]) == 64 and layers["classes"] == list(range(10))
    (given,) = layers["signature"]["inputs"]
    assert given["dtype"] == "float32" and given["shape"][1:] == [64]
    onnx = run("inspect", iris.path, "--json", packages=("onnx",)).data
    assert set(onnx) == set(layers)
    assert onnx["graph"]["opsets"]["ai.onnx"] == 18
    assert onnx["graph"]["operators"]["ai.onnx.ml.LinearClassifier"] == 1
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(iris.path.read_bytes()[:100])
    run("inspect", broken, "--json").refuses("broken.onnx", "not a sound ONNX file")


def test_names_in_a_file_do_not_steer_the_terminal(iris: Case, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    model = onnx.load(iris.path)
    entry = model.metadata_props.add()
    entry.key, entry.value = "modelserve.feature_names", json.dumps(["\x1b[2J", "b", "c", "d"])
    onnx.save(model, tmp_path / "m.onnx")
    ended = run("inspect", tmp_path / "m.onnx")
    assert ended.code == 0 and "\x1b" not in ended.out and "\\x1b[2J, b, c, d" in ended.out


def test_colours_are_for_terminals_and_can_be_refused(iris: Case) -> None:
    def on_terminal(**env: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "modelserve", "inspect", str(iris.path)]
        try:
            subprocess.run(
                command,
                stdout=theirs,
                stderr=theirs,
                env=environment(TERM="xterm-256color", **env),
                timeout=HANG,
                check=True,
            )
            return os.read(ours, 65536).decode()
        finally:
            os.close(ours)
            os.close(theirs)

    colour = re.compile(r"\x1b\[(\d+;)*[39]\d")
    assert colour.search(on_terminal())
    assert not colour.search(on_terminal(NO_COLOR="1"))


def test_check(iris: Case, tmp_path: Path) -> None:
    row, label = iris.expected["rows"][0], iris.expected["labels"][0]
    right = {"row": row, "prediction": label, "probabilities": iris.expected["probabilities"][0]}
    golden = tmp_path / "golden.jsonl"
    golden.write_text(json.dumps(right) + "\n")
    ended = run("check", iris.path, golden)
    assert ended.code == 0 and "1 golden request, all answered as expected" in ended.out
    wrong = [right, right | {"prediction": label + 1}, {"row": row[:3]}]
    golden.write_text("".join(json.dumps(one) + "\n" for one in wrong))
    ended = run("check", iris.path, golden)
    assert ended.code == 1 and "2 of 3 golden requests" in ended.out
    assert f"expected {label + 1}, got {label}" in ended.out
    ended = run("check", iris.path, golden, "--json")
    assert ended.code == 1 and not ended.data["passed"]
    assert [failure["line"] for failure in ended.data["failures"]] == [2, 3]
    golden.write_text('{"rwo": []}\n')
    run("check", iris.path, golden).refuses("line 1", "rwo")


def test_check_asks_the_requests_beside_a_model_only_when_they_are_meant(
    iris: Case, tmp_path: Path
) -> None:
    row, label = iris.expected["rows"][0], iris.expected["labels"][0]
    folder = tmp_path / "3"
    folder.mkdir()
    shutil.copy(iris.path, folder / "model.onnx")
    beside, other = folder / "golden.jsonl", tmp_path / "other.jsonl"
    other.write_text(json.dumps({"row": row, "prediction": label}) + "\n")
    beside.write_text(json.dumps({"row": row, "prediction": label + 1}) + "\n")
    ended = run("check", folder, "--json")
    assert ended.code == 1 and ended.data["passed"] is False
    assert ended.data["requests"] == ended.data["failed"] == 1
    ended = run("check", folder, other, "--json")
    assert ended.code == 0 and ended.data["requests"] == 1 and ended.data["passed"]
    beside.write_text("no request")
    assert run("check", folder, other).code == 0
    run("check", folder).refuses("line 1")
    (folder / "model.onnx").write_bytes(b"no model")
    run("check", folder, other).refuses(f"{folder}/model.onnx")


def test_check_finds_external_data_beside_the_model(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "data").mkdir()
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data/w.bin", size_threshold=0)
    assert (tmp_path / "data" / "w.bin").stat().st_size >= weights.nbytes
    golden = tmp_path / "golden.jsonl"
    for row, code in (([1.0] + [0.0] * 999, 0), ([2.0] * 1000, 1)):
        golden.write_text(json.dumps({"inputs": {"x": [row]}, "outputs": {"y": [[0, 1]]}}))
        ended = run("check", path, "--json")
        assert ended.code == code and ended.data["requests"] == 1, ended
    data = tmp_path / "data" / "w.bin"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    run("check", path).refuses(f"{data}", "link")


def test_check_shows_requests_with_any_text_in_them(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx_graphs import echo

    model, golden = tmp_path / "m.onnx", tmp_path / "requests.jsonl"
    model.write_bytes(echo(x=(onnx.TensorProto.STRING, "y", ["n", 1])))
    request = {"inputs": {"x": [["a\u2028b"]]}, "outputs": {"y": [["c"]]}}
    golden.write_text(json.dumps(request, ensure_ascii=False) + "\n", encoding="utf-8")
    ended = run("check", model, golden)
    assert ended.code == 1 and "1 of 1 golden requests" in ended.out and not ended.err, ended


def test_replay(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    recording = tmp_path / "requests.jsonl"
    manager.record("iris", recording, sample=1.0)
    for row in iris.rows[:10]:
        manager.predict("iris", row)
    manager.stop_recording("iris")
    ended = run("replay", recording, iris.path)
    assert ended.code == 0 and "10 requests, all answered as recorded" in ended.out
    ended = run("replay", recording, iris_v2.path, "--json")
    assert ended.code == 1 and not ended.data["same"]
    assert ended.data["requests"] == ended.data["disagreements"] == 10
    # A recording without requests of that name proves nothing.
    ended = run("replay", recording, iris.path, "--recorded-as", "another")
    assert ended.code == 1 and "no requests of 'another'" in ended.out
    run("replay", iris.path, iris.path).refuses("no recording")


def test_diff(iris: Case, iris_v2: Case, rows: Path) -> None:
    ended = run("diff", iris.path, iris.path, rows)
    assert ended.code == 0 and f"{len(iris.rows)} rows answered alike" in ended.out
    ended = run("diff", iris.path, iris_v2.path, rows)
    labels = zip(iris.expected["labels"], iris_v2.expected["labels"], strict=True)
    changed = sum(a != b for a, b in labels)
    assert ended.code == 1 and f"label changes         {changed} " in ended.out
    data = run("diff", iris.path, iris_v2.path, rows, "--json", "--worst", 3).data
    assert data["different_rows"] >= data["label_changes"]
    assert data["label_changes"] == changed == sum(change["rows"] for change in data["changes"])
    a, b = (np.array(c.expected["probabilities"]) for c in (iris, iris_v2))
    gaps = np.abs(a - b).max(axis=1)
    assert data["max_difference"] == pytest.approx(gaps.max(), abs=1e-5)
    assert data["worst"][0]["row"] == gaps.argmax() + 1 and len(data["worst"]) == 3
    regressor = case("linear_regression").path
    run("diff", iris.path, regressor, rows).refuses("expected", "columns")


def test_doctor() -> None:
    ended = run("doctor", "--json")
    data = ended.data
    assert ended.code == (1 if data["problems"] else 0)
    assert data["modelserve"] == ms.__version__ and data["self_test"] is None
    assert data["cpu"]["cores"] == os.cpu_count() and data["packages"]["rich"]
    # Something is off: the shell's limit of open files.
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
        "from modelserve.cli import main\nsys.exit(main(['doctor']))"
    )
    ended = start("-c", program)
    assert ended.code == 1 and "200 files may be open" in ended.out and "ulimit -n" in ended.out
