"""The command line: predict, convert, bench."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import run
from conftest import Case, case

import modelserve as ms

pytest.importorskip("rich", reason="needs modelserve[cli]")


def answers(text: str) -> tuple[list[int], np.ndarray]:
    table = list(csv.DictReader(io.StringIO(text)))
    labels = [int(row["prediction"]) for row in table]
    probabilities = [[float(row[f"probability_{k}"]) for k in range(3)] for row in table]
    return labels, np.array(probabilities)


def expect(iris: Case, labels: list[Any], probabilities: np.ndarray) -> None:
    assert labels == iris.expected["labels"]
    np.testing.assert_allclose(probabilities, iris.expected["probabilities"], atol=1e-5)


def test_csv_in_and_out(iris: Case, tmp_path: Path) -> None:
    rows = iris.expected["rows"]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "a", "b", "c", "d"])
        writer.writerows([f"n{k}", *row] for k, row in enumerate(rows))
    ended = run("predict", iris.path, path, "--columns", "a,b,c,5", "--keep", "id")
    assert ended.code == 0 and not ended.err
    expect(iris, *answers(ended.out))
    kept = [row["id"] for row in csv.DictReader(io.StringIO(ended.out))]
    assert kept == [f"n{k}" for k in range(len(rows))]
    # In batches, with a summary for programs; the same bytes.
    out = tmp_path / "out.csv"
    arguments = ("--columns", "2-5", "--keep", "id", "--batch-size", 7, "-o", out, "--json")
    summary = run("predict", iris.path, path, *arguments).data
    assert summary["rows"] == len(rows) and summary["output"] == str(out)
    assert out.read_text() == ended.out
    run("predict", iris.path, path).refuses("expected 4 columns, got 5", "--columns")


@pytest.mark.parametrize("kind", ["parquet", "npy", "json", "jsonl"])
def test_other_formats_in_and_out(kind: str, iris: Case, tmp_path: Path) -> None:
    rows = iris.expected["rows"]
    given, out = tmp_path / f"rows.{kind}", tmp_path / f"out.{kind}"
    if kind == "parquet":
        arrow = pytest.importorskip("pyarrow", reason="needs modelserve[cli]")
        from pyarrow import parquet

        columns = dict(zip("abcd", zip(*rows, strict=True), strict=True))
        parquet.write_table(arrow.table(columns), given)
    elif kind == "npy":
        np.save(given, np.array(rows))
    elif kind == "json":
        given.write_text(json.dumps({"instances": rows}))
    else:
        names = [dict(zip("abcd", row, strict=True)) for row in rows]
        given.write_text("".join(json.dumps(row) + "\n" for row in names))
    ended = run("predict", iris.path, given, "-o", out, "--batch-size", 8)
    assert ended.code == 0 and f"{len(rows)} rows" in ended.out
    if kind == "npy":
        matrix = np.load(out)
        expect(iris, matrix[:, 0].astype(int).tolist(), matrix[:, 1:])
        return
    if kind == "parquet":
        table = parquet.read_table(out).to_pylist()
    else:
        text = out.read_text()
        table = json.loads(text) if kind == "json" else list(map(json.loads, text.splitlines()))
    probabilities = [[row[f"probability_{k}"] for k in range(3)] for row in table]
    expect(iris, [row["prediction"] for row in table], np.array(probabilities))


def test_standard_input(iris: Case) -> None:
    rows = iris.expected["rows"]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    ended = run("predict", iris.path, "-", "--json", given=lines)
    assert ended.code == 0
    table = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["prediction"] for row in table] == iris.expected["labels"]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    expect(iris, *answers(run("predict", iris.path, "-", given=text).out))
    run("predict", iris.path, "-", given="").refuses("standard input has no rows")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    digits = case("digits_mlp_safetensors")
    names = ms.load(digits.path).signature.feature_names
    assert names is not None
    given = tmp_path / "rows.csv"

    def write(header: list[str]) -> None:
        with given.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*reversed(header), "target"])
            writer.writerows([*reversed(row), "?"] for row in digits.rows.tolist())

    write(names)
    table = list(csv.DictReader(io.StringIO(run("predict", digits.path, given).out)))
    assert [int(row["prediction"]) for row in table] == digits.expected["labels"]
    write(["pixel", *names[1:]])
    run("predict", digits.path, given).refuses(f"column '{names[0]}' missing", "nearest is")


def test_what_is_wrong_in_a_file_is_named(iris: Case, tmp_path: Path) -> None:
    given, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    out.write_text("what was there")
    for text, *words in (
        ("a,b,c,d\n1,2,3,4\n1,,x7,4\n", "rows.csv, line 3, column 'c'", "got 'x7'"),
        ("1,2,3,4\n1,2,3\n", "line 2: expected 4 columns, got 3"),
        ('a,b,c,d\n1,2,3,"4\n', "not sound CSV"),
    ):
        given.write_text(text)
        run("predict", iris.path, given, "-o", out).refuses(*words)
    # A file is written whole or not at all.
    assert out.read_text() == "what was there" and len(list(tmp_path.iterdir())) == 2
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"a": 1, "b": 2, "c": 3, "d": 4}\n{"a": 1, "b": 2, "d": 4}\n')
    run("predict", iris.path, lines).refuses("line 2", "'c' is missing")
    wrong = tmp_path / "rows.parquet"
    wrong.write_text("no such thing")
    run("predict", iris.path, wrong).refuses("rows.parquet", "not sound Parquet")
    run("predict", iris.path, tmp_path / "rows.xls").refuses("'.xls' is unknown", ".csv")


def test_whole_numbers_stay_exact(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx import TensorProto, helper

    shape = ["n", 1]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT64, shape)],
    )
    opset = helper.make_opsetid("", 18)
    model, given = tmp_path / "m.onnx", tmp_path / "rows.jsonl"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), model)
    big = 2**62 + 1
    for cell in (str(big), f'"{big}"'):
        given.write_text(f"[{cell}]\n[3.0]\n")
        ended = run("predict", model, given)
        assert ended.code == 0 and ended.out.splitlines()[1:] == [str(big), "3"]
    for cell in ("2.5", "null", "1e30", "[1]"):
        given.write_text(f"[1]\n[{cell}]\n")
        run("predict", model, given).refuses("line 2, column '1'", "a whole number (int64)")


def test_convert_asks_for_trust_and_proves_the_result(tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx", reason="needs modelserve[convert]")
    datasets = pytest.importorskip("sklearn.datasets", reason="needs modelserve[convert]")
    from sklearn.linear_model import LogisticRegression

    X, y = datasets.load_iris(return_X_y=True)
    estimator = LogisticRegression(max_iter=500).fit(X, y)
    source, sample, out = (tmp_path / name for name in ("e.pkl", "rows.csv", "e.onnx"))
    source.write_bytes(pickle.dumps(estimator))
    np.savetxt(sample, np.column_stack([X, y]), delimiter=",")
    arguments = ("convert", source, "-o", out, "--sample", sample)
    packages = ("sklearn.linear_model", "skl2onnx", "onnxmltools")
    run(*arguments, packages=packages).refuses("a pickle is a program", "--trust-pickle")
    run(*arguments, "--trust-pickle").refuses("expected 4 columns, got 5", "--columns")
    trusted = (*arguments, "--trust-pickle", "--columns", "1-4")
    ended = run(*trusted, "--tolerance", "0", "--json")
    assert ended.code == 1 and ended.data["converted"] is False and not out.exists()
    ended = run(*trusted)
    assert ended.code == 0 and "alike on 150 rows" in ended.out
    got = ms.load(out).predict_batch(X.astype(np.float32)).predictions
    assert got.tolist() == estimator.predict(X).tolist()
    source.write_bytes(b"no pickle")
    run(*trusted).refuses("e.pkl cannot be unpickled")


def test_an_unpickled_file_never_runs_untrusted(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    source, sample = tmp_path / "evil.joblib", tmp_path / "rows.csv"
    source.write_bytes(pickle.dumps(Evil()))
    sample.write_text("1,2\n")
    run("convert", source, "-o", tmp_path / "x.onnx", "--sample", sample).refuses("--trust-pickle")
    assert not (tmp_path / "ran").exists()


def test_convert_reads_the_files_of_xgboost(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost", reason="needs xgboost")
    pytest.importorskip("onnxmltools", reason="needs modelserve[convert]")
    random = np.random.default_rng(0)
    X = random.standard_normal((80, 3)).astype(np.float32)
    y = (X.sum(axis=1) > 0).astype(int)
    estimator = xgboost.XGBClassifier(n_estimators=5).fit(X, y)
    source, sample, out = (tmp_path / name for name in ("b.json", "rows.npy", "b.onnx"))
    estimator.save_model(source)
    np.save(sample, X)
    arguments = ("convert", source, "-o", out, "--sample", sample, "--json")
    data = run(*arguments, packages=("skl2onnx", "onnxmltools", "xgboost")).data
    assert data["converted"] and data["rows_compared"] == 80 and data["task"] == "classifier"
    np.testing.assert_allclose(ms.load(out).predict_proba(X), estimator.predict_proba(X), atol=1e-5)
    source.write_text("{}")
    run(*arguments).refuses("no model of XGBoost")


def test_bench(iris: Case, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("matplotlib", reason="needs modelserve[cli]")
    quick = ("--seconds", 0.02, "--threads", "1,2", "--batch-sizes", "1,16")
    plot = tmp_path / "bench.svg"
    data = run("bench", iris.path, *quick, "--json", "--plot", plot).data
    assert data["agreement"]["same"] and data["agreement"]["different_labels"] == 0
    for one in (data["latency"], *(cell["rows_per_second"] for cell in data["throughput"])):
        assert set(one) == {"modelserve", "onnxruntime"}
    assert len(data["throughput"]) == 4 and plot.read_text().rstrip().endswith("</svg>")
    times = data["latency"]["modelserve"]
    assert 0 < times["p50_us"] <= times["p90_us"] <= times["p99_us"] and times["calls"] > 0
    ended = run("bench", iris.path, *quick, "--alone")
    assert (
        ended.code == 0 and "modelserve, rows/s" in ended.out and "times as many" not in ended.out
    )
    run("bench", iris.path, "--batch-sizes", "0").refuses("numbers from 1 on")
