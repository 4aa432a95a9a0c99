"""The command line: rows with gaps, without rows, of odd types; and where answers go."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import HANG, Ended, environment
from cli_program import run as run_program
from conftest import Case

pytest.importorskip("rich", reason="needs modelserve[cli]")

BIG = 2**53 + 1
#: Packages, and which module of each is imported.
_HEAVY = {"pyarrow": ".parquet", "pandas": ""}
ONE_ROW = "a,b,c,d\n5.9,3.0,5.1,1.8\n"


@pytest.fixture
def arrow() -> Any:
    found = pytest.importorskip("pyarrow", reason="needs modelserve[cli]")
    pytest.importorskip("pyarrow.parquet", reason="needs modelserve[cli]")
    return found


def run(*arguments: object) -> Ended:
    """The program, after what takes long to import."""
    # Arrow imports pandas where it is there.
    installed = importlib.util.find_spec
    heavy = [f"{name}{part}" for name, part in _HEAVY.items() if installed(name)]
    return run_program(*arguments, packages=tuple(heavy))


def echo_of(kind: str, path: Path) -> Path:
    """A model that answers its one column of this type."""
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx_graphs import echo

    path.write_bytes(echo(x=(getattr(onnx.TensorProto, kind), "y", ["n", 1])))
    return path


def table_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_whole_numbers_of_parquet_stay_exact_beside_nulls(
    arrow: Any, iris: Case, tmp_path: Path
) -> None:
    given, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    features = {name: [1, None, 3] for name in "abcd"}
    ids = {"id": [BIG, None, 7], "weight": arrow.array([0.1, None, 0.2], arrow.float32())}
    arrow.parquet.write_table(arrow.table(ids | features), given)
    arguments = ("--columns", "a,b,c,d", "--keep", "id,weight")
    table = table_of(run("predict", iris.path, given, *arguments).out)
    assert [row["id"] for row in table] == [str(BIG), "", "7"]
    assert [row["weight"] for row in table] == ["0.1", "", "0.2"]
    for size in (1, 3):
        # Whatever falls into one batch.
        assert (
            run("predict", iris.path, given, *arguments, "--batch-size", size, "-o", out).code == 0
        )
        kept = arrow.parquet.read_table(out)
        assert kept["id"].to_pylist() == [BIG, None, 7]
        assert kept["weight"].is_null().to_pylist() == [False, True, False]
    integers, texts = (echo_of(kind, tmp_path / f"{kind}.onnx") for kind in ("INT64", "STRING"))
    for model, what in ((integers, "a whole number (int64)"), (texts, "a text")):
        ended = run("predict", model, given, "--columns", "id")
        ended.refuses("rows.parquet, row 2, column 'id'", f"expected {what}, got nothing")
    arrow.parquet.write_table(arrow.table({"id": [BIG, 1]}), given)
    for model in (integers, texts):
        assert run("predict", model, given).out.splitlines()[1:] == [str(BIG), "1"]


def test_parquet_has_one_type_a_column(arrow: Any, iris: Case, tmp_path: Path) -> None:
    given, out = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    row = dict(zip("abcd", iris.expected["rows"][0], strict=True))
    arguments = (given, "--columns", "a,b,c,d", "--keep", "k", "--batch-size", 1, "-o", out)

    def write(*values: Any) -> None:
        given.write_text("".join(json.dumps(row | {"k": value}) + "\n" for value in values))

    for values in ((1, None, 2), (None, None, 3), (None, "x"), (1.5, 2), (None, None)):
        write(*values)
        ended = run("predict", iris.path, *arguments)
        assert ended.code == 0, ended.err
        assert arrow.parquet.read_table(out)["k"].to_pylist() == list(values)
    kept = out.read_bytes()
    for values in ((1, "x"), ("x", 1.5, None), (1, 2.5), (None, 1, "2")):
        write(*values)
        run("predict", iris.path, *arguments).refuses("column 'k' has values of several types")
    write(1, "x")
    together = [*arguments[:5], *arguments[7:]]
    run("predict", iris.path, *together).refuses("column 'k' has values of several types")
    assert out.read_bytes() == kept


def test_files_without_rows(arrow: Any, iris: Case, tmp_path: Path) -> None:
    given, empty = tmp_path / "rows.csv", tmp_path / "rows.parquet"
    given.write_text("id,a,b,c,d\n")
    schema = arrow.schema([(name, arrow.float64()) for name in "abcd"])
    arrow.parquet.write_table(schema.empty_table(), empty)
    heads = ["prediction", "probability_0", "probability_1", "probability_2"]
    keep = ("--columns", "2-5", "--keep", "id")
    ended = run("predict", iris.path, given, *keep)
    assert ended.code == 0 and ended.out == ",".join(["id", *heads]) + "\n"
    assert run("predict", iris.path, empty).out == ",".join(heads) + "\n"
    out = tmp_path / "out.parquet"
    assert run("predict", iris.path, given, *keep, "-o", out).code == 0
    table = arrow.parquet.read_table(out)
    assert table.num_rows == 0 and table.column_names == ["id", *heads]
    assert [str(kind) for kind in table.schema.types] == ["string", "int64"] + ["float"] * 3
    out = tmp_path / "out.npy"
    assert run("predict", iris.path, empty, "-o", out).code == 0
    assert np.load(out).shape == (0, 4)
    np.save(tmp_path / "none.npy", np.empty((0, 4)))
    assert run("predict", iris.path, tmp_path / "none.npy", "--json").out == ""
    ended = run("diff", iris.path, iris.path, empty)
    assert ended.code == 1 and "has no rows" in ended.out
    ended = run("diff", iris.path, iris.path, empty, "--json")
    assert ended.code == 1 and ended.data["same"] is False and ended.data["rows"] == 0
    run("bench", iris.path, "--data", empty).refuses("has no rows")


def test_kept_columns_hide_nothing(iris: Case, tmp_path: Path) -> None:
    given = tmp_path / "rows.csv"
    given.write_text("a,b,c,d,prediction,id,id\n1,2,3,4,5,6,7\n")
    ask = ("predict", iris.path, given, "--columns", "a,b,c,d", "--keep")
    run(*ask, "prediction").refuses("'prediction'", "the name of an answer", "rename")
    run(*ask, "id").refuses("several columns are named 'id' (numbers 6, 7)", "by number")
    run(*ask, "6,7").refuses("two columns of the name 'id'", "rename")
    run(*ask, "a,1").refuses("two columns of the name 'a'")
    (row,) = table_of(run(*ask, "7,a").out)
    assert row["id"] == "7" and row["a"] == "1"


def test_what_a_header_is_and_what_a_number(iris: Case, tmp_path: Path) -> None:
    given = tmp_path / "rows.csv"
    for text, rows in (
        ("nan,inf,NaN,-inf\n1,2,3,4\n", 1),
        ("nan,2,inf,4\n1,2,3,4\n", 2),
        ("1_000,2,3,4\n1,2,3,4\n", 1),
        ("1e3,.5,+3,4.\n1,2,3,4\n", 2),
        (",0,1,2\n1,2,3,4\n", 1),
    ):
        given.write_text(text)
        ended = run("predict", iris.path, given)
        assert ended.code == 0 and len(table_of(ended.out)) == rows, text
    for cell in ("1_000", chr(0x661)):
        given.write_text(f"a,b,c,d\n1,2,3,4\n1,2,{cell},4\n", encoding="utf-8")
        run("predict", iris.path, given).refuses("line 3, column 'c'", f"got '{cell}'")
        model = echo_of("INT64", tmp_path / "m.onnx")
        run("predict", model, given, "--columns", "c").refuses("line 3, column 'c'")


def test_wrong_numbers_of_options(iris: Case, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(ONE_ROW)
    run("predict", iris.path, rows, "--threads", -1).refuses("--threads", "expected 0 to")
    run("predict", iris.path, rows, "--threads", 10**30).refuses("--threads", "expected 0 to")
    run("bench", iris.path, "--run-threads", -1).refuses("--run-threads", "expected 0 to")
    for wrong in ("nan", "-1"):
        given = f"--tolerance={wrong}"
        run("diff", iris.path, iris.path, rows, given).refuses("expected 0 or more")
        run("replay", rows, iris.path, given).refuses("expected 0 or more")
        run("convert", "e.pkl", "-o", "e.onnx", "--sample", rows, given).refuses("0 or more")


def test_standard_input_that_comes_in_pieces(iris: Case) -> None:
    row = iris.expected["rows"][0]
    whole = json.dumps({"instances": [row]}, indent=1)
    for head, rest in (
        ("[ ", f"{json.dumps(row)[1:]}\n"),
        (whole[:8], whole[8:]),
        ("\n", ",".join(map(str, row))),
    ):
        command = [sys.executable, "-m", "modelserve", "predict", str(iris.path), "-"]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment(),
        ) as process:
            assert process.stdin is not None
            process.stdin.write(head.encode())
            # The program has taken the first piece when the pipe is empty.
            _drained(process)
            out, _ = process.communicate(rest.encode(), timeout=HANG)
        assert process.returncode == 0, head
        assert [int(one["prediction"]) for one in table_of(out.decode())] == [
            iris.expected["labels"][0]
        ]


def _drained(process: subprocess.Popen[bytes]) -> None:
    import array
    import fcntl
    import termios
    import time

    assert process.stdin is not None
    waiting = array.array("i", [1])
    end = time.monotonic() + HANG
    while waiting[0] and process.poll() is None:
        assert time.monotonic() < end, "nothing reads the pipe"
        fcntl.ioctl(process.stdin, termios.FIONREAD, waiting)
        time.sleep(0.01)


def test_targets_that_are_no_plain_files(arrow: Any, iris: Case, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(ONE_ROW)
    # A link stays one, and what it leads to keeps its mode.
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "answers", tmp_path / "link.csv"
    link.symlink_to(real)
    for _ in range(2):
        assert run("predict", iris.path, rows, "-o", link).code == 0
        assert link.is_symlink() and real.read_text().startswith("prediction,")
        real.chmod(0o640)
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["answers"]
    for kind in ("csv", "npy", "parquet"):
        pipe, got = tmp_path / f"pipe.{kind}", list[bytes]()
        os.mkfifo(pipe)
        # Open as long as the command runs: the reader waits neither to begin nor, then, to end.
        held = os.open(pipe, os.O_RDWR)
        reader = threading.Thread(target=lambda p=pipe, g=got: g.append(p.read_bytes()))
        reader.start()
        try:
            ended = run("predict", iris.path, rows, "-o", pipe, "--json")
        finally:
            os.close(held)
            reader.join(HANG)
        assert ended.code == 0, ended.err
        assert pipe.is_fifo() and len(got[0]) > 20
    ended = run("predict", iris.path, rows, "-o", "/dev/stderr", "--output-format", "csv")
    assert ended.code == 0 and ended.err.startswith("prediction,")
    ended = run("predict", iris.path, rows, "-o", os.devnull, "--output-format", "csv")
    assert ended.code == 0 and not Path(os.devnull).is_file()


def test_a_missing_folder_is_named(iris: Case, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "none" / "out.csv"
    rows.write_text(ONE_ROW)
    run("predict", iris.path, rows, "-o", out).refuses(f"{out}: there is no folder", "make it")
