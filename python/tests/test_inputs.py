"""Everything that can be passed as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Case, case
from onnx import TensorProto
from onnx_graphs import echo

import modelserve as ms

NAMES = ["sl", "sw", "pl", "pw"]


@pytest.fixture(scope="module")
def model() -> ms.Model:
    return ms.load(case("iris_v1").path, feature_names=NAMES)


def row_forms() -> dict[str, Any]:
    row = case("iris_v1").rows[0]
    wide = np.zeros((4, 8), np.float32)
    wide[:, 3] = row
    return {
        "list": row.tolist(),
        "tuple": tuple(row.tolist()),
        "list of numpy scalars": list(row),
        "float32": row,
        "float64": row.astype(np.float64),
        "big endian": row.astype(">f4"),
        "strided": wide[:, 3],
        "reversed": row[::-1].copy()[::-1],
        "nested": [row.tolist()],
        "matrix": row[None, :],
        "object": row.astype(object),
        "dict": dict(zip(NAMES, row.tolist(), strict=True)),
        "dict, other order": dict(reversed(list(zip(NAMES, row.tolist(), strict=True)))),
        "dict by input": {"X": row.tolist()},
    }


@pytest.mark.parametrize("form", row_forms())
def test_one_row_in_every_form(model: ms.Model, iris: Case, form: str) -> None:
    p = model.predict(row_forms()[form])
    assert p.prediction == iris.expected["labels"][0]
    assert p.probabilities == pytest.approx(iris.expected["probabilities"][0], abs=1e-5)


def batch_forms() -> dict[str, Any]:
    rows = case("iris_v1").rows
    wide = np.zeros((90, 8), np.float32)
    wide[::2, ::2] = rows
    unaligned = np.zeros(rows.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(rows.shape)
    unaligned[:] = rows
    columns = {name: rows[:, i] for i, name in enumerate(NAMES)}
    return {
        "float32": rows,
        "float64": rows.astype(np.float64),
        "fortran": np.asfortranarray(rows),
        "strided": wide[::2, ::2],
        "unaligned": unaligned,
        "read only": np.frombuffer(rows.tobytes(), np.float32).reshape(rows.shape),
        "object": rows.astype(object),
        "lists": rows.tolist(),
        "tuples": [tuple(r) for r in rows.tolist()],
        "list of arrays": list(rows),
        "dict of arrays": columns,
        "dict of lists": {k: v.tolist() for k, v in columns.items()},
        "dict by input": {"X": rows},
        "list of dicts": [dict(zip(NAMES, r, strict=True)) for r in rows.tolist()],
    }


@pytest.mark.parametrize("form", batch_forms())
def test_a_batch_in_every_form(model: ms.Model, iris: Case, form: str) -> None:
    b = model.predict_batch(batch_forms()[form])
    assert list(b.predictions) == iris.expected["labels"]
    np.testing.assert_allclose(b.probabilities, iris.expected["probabilities"], atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "float16", "bool"])
def test_numbers_of_every_type(model: ms.Model, dtype: str) -> None:
    rows = np.array([[5, 3, 1, 0], [6, 3, 4, 1]]).astype(dtype)
    want = model.predict_batch(rows.astype(np.float32)).probabilities
    np.testing.assert_array_equal(model.predict_batch(rows).probabilities, want)
    assert model.predict(rows[0].tolist()).probabilities == pytest.approx(want[0])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (TensorProto.INT8, [-128, 127.0], [128, -129, 0.5, np.nan, np.inf]),
        (TensorProto.INT32, [-(2**31), 2**31 - 1], [2**31, 3e9, -(2**31) - 1]),
        (TensorProto.INT64, [-(2**63), 2**63 - 1], [2.0**63, np.uint64(2**63 + 5)]),
        (TensorProto.UINT8, [0, 255], [256, -1]),
        (TensorProto.UINT64, [0, 2**63 - 1], [-1, 2.0**64]),
    ],
)
def test_whole_numbers_are_taken_as_they_are_or_refused(
    kind: int, good: list[Any], bad: list[Any]
) -> None:
    model = ms.load(echo(x=(kind, "y", [None, 1])))
    for value in good:
        assert model.run({"x": np.array([[value]])})["y"].item() == value
    for value in bad:
        with pytest.raises(ms.InvalidInputError, match="which cannot be"):
            model.run({"x": np.array([[value]])})
        with pytest.raises(ms.InvalidInputError):
            model.predict([value])
        with pytest.raises(ms.InvalidInputError):
            model.predict_batch(np.array([[good[0]], [value]]))


def test_dataframes_go_by_name(model: ms.Model, iris: Case) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(iris.rows, columns=NAMES)
    for given in (
        frame,
        frame[NAMES[::-1]],
        frame.astype("float64"),
        frame.assign(extra=1.0)[NAMES],
    ):
        assert list(model.predict_batch(given).predictions) == iris.expected["labels"]
    assert model.predict(frame.iloc[0]).prediction == iris.expected["labels"][0]
    assert model.predict(frame[NAMES[::-1]].iloc[0]).prediction == iris.expected["labels"][0]
    assert model.predict(frame.iloc[:1]).prediction == iris.expected["labels"][0]
    with pytest.raises(ms.InvalidInputError):
        model.predict_batch(frame.drop(columns="sw"))
    nameless = ms.load(iris.path)
    assert list(nameless.predict_batch(frame).predictions) == iris.expected["labels"]


def test_missing_values() -> None:
    c = case("xgb_missing")
    model = ms.load(c.path)
    with_none = [[None if np.isnan(x) else x for x in row] for row in c.rows.tolist()]
    assert list(model.predict_batch(with_none).predictions) == c.expected["labels"]
    assert model.predict(with_none[0]).prediction == c.expected["labels"][0]


def test_an_empty_batch(model: ms.Model) -> None:
    b = model.predict_batch(np.zeros((0, 4), np.float32))
    assert len(b) == 0 and b.predictions.shape == (0,) and list(b) == []


@pytest.mark.parametrize(
    "wrong",
    [
        [1.0, 2.0, 3.0],
        [1.0] * 5,
        [],
        ["a", "b", "c", "d"],
        [[1.0, 2.0, 3.0, 4.0]] * 2,
        [[1.0, 2.0], [3.0]],
        {"sl": 1.0},
        {"sl": 1.0, "sw": 1.0, "pl": 1.0, "nothing": 1.0},
        {1: 1.0},
        [...] * 4,
        np.array(["2020-01-01"] * 4, dtype="datetime64[D]"),
        np.ones(4, dtype=complex),
        None,
        3.0,
    ],
    ids=repr,
)
def test_wrong_rows_are_invalid_input(model: ms.Model, wrong: Any) -> None:
    with pytest.raises(ms.InvalidInputError) as caught:
        model.predict(wrong)
    assert str(caught.value)


def test_wrong_batches_are_invalid_input(model: ms.Model) -> None:
    for wrong in (
        [[1.0, 2.0], [3.0]],
        [{"sl": 1.0, "sw": 1.0, "pl": 1.0, "pw": 1.0}, {"sl": 1.0}],
        [{"sl": 1.0, "sw": 1.0, "pl": 1.0, "pw": 1.0}, [1.0]],
        {"sl": [1.0, 2.0], "sw": [1.0], "pl": [1.0, 2.0], "pw": [1.0, 2.0]},
        np.zeros((2, 3), np.float32),
    ):
        with pytest.raises(ms.InvalidInputError):
            model.predict_batch(wrong)
