"""Values that a model's type cannot hold are refused by name, in tables and in clients."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from http_front import listening
from onnx import TensorProto, helper

import modelserve as ms
from modelserve.casting import cast
from modelserve.client import Client
from modelserve.columns import ColumnScorer


def _same(kind: int) -> bytes:
    """A model that answers its input."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", kind, [None, 2])],
        [helper.make_tensor_value_info("y", kind, [None, 2])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def manager() -> ms.ModelManager:
    manager = ms.ModelManager()
    manager.load("whole", _same(TensorProto.INT32))
    manager.load("real", _same(TensorProto.FLOAT))
    manager.load("text", _same(TensorProto.STRING))
    return manager


@pytest.fixture(scope="module")
def client(manager: ms.ModelManager) -> Iterator[Client]:
    with listening(ms.asgi(manager)) as url, Client(url) as client:
        yield client


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (np.array([1.0, np.nan, 2.7]), "nan"),
        (np.array([1.0, 2.7]), r"2\.7"),
        (np.array([1.0, np.inf]), "inf"),
        (np.array([2.0, 3e9]), r"3000000000\.0"),
        (np.array([2.0, 2.0**31]), r"2147483648\.0"),
        (np.array([1, 3_000_000_000]), "3000000000"),
        (np.array([1, 2**63], np.uint64), "9223372036854775808"),
        (np.array([1, "2"], object), "'2'"),
        (np.array([1, None], object), "None"),
        (np.array([1, 10**30], object), "10000"),
        (np.array([Decimal("1.5"), 1], object), r"Decimal\('1\.5'\)"),
        (np.array(["1", "2"]), "'1'"),
        (np.array([1, 2], "M8[s]"), "datetime"),
        (np.array([1, 2j]), r"\(1\+0j"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    manager: ms.ModelManager, column: np.ndarray, told: str
) -> None:
    table = {"a": np.array([7, 8]), "b": column if len(column) == 2 else column[1:]}
    with pytest.raises(ms.InvalidInputError, match=rf"column 'b' takes int32.* {told}"):
        ColumnScorer(manager.model("whole")).score(table)


def test_columns_that_fit_are_taken_exactly(manager: ms.ModelManager) -> None:
    scorer = ColumnScorer(manager.model("whole"))
    low, high = -(2**31), 2**31 - 1
    for column in (
        np.array([low, high], np.int64),
        np.array([low, high], np.float64),
        np.array([low, float(high)], object),
        np.array([Decimal(low), np.int64(high)], object),
    ):
        answers = scorer.score({"a": column, "b": np.array([True, False])})
        assert answers["prediction_0"].tolist() == [low, high]
        assert answers["prediction_1"].tolist() == [1, 0]
    assert len(scorer.score({"a": np.array([]), "b": np.array([])})["prediction_0"]) == 0
    real = ColumnScorer(manager.model("real")).score(
        {"a": np.array([0.1, np.inf]), "b": np.array([None, Decimal("0.5")], object)}
    )
    assert real["prediction_0"].tolist() == [np.float32(0.1), np.inf]
    np.testing.assert_array_equal(real["prediction_1"], [np.nan, 0.5])


@pytest.mark.parametrize(
    ("model", "dtype", "row", "told"),
    [
        ("whole", "int32", [1, 2.7], r"2\.7"),
        ("whole", "int32", [1, float("nan")], "nan"),
        ("whole", "int32", [1, 3e9], "3000000000"),
        ("whole", "int32", [1, -(2**40)], str(-(2**40))),
        ("whole", "int32", [1, "two"], "'two'"),
        ("real", "float32", [1, "two"], "'two'"),
        ("real", "float32", [1, 1e300], r"1e\+300"),
        ("text", "str", ["one", 2], "2"),
        ("text", "str", [1, 2], "1"),
    ],
)
def test_a_client_refuses_what_the_input_cannot_hold(
    client: Client, model: str, dtype: str, row: Any, told: str
) -> None:
    with pytest.raises(ms.InvalidInputError, match=f"input 'x' takes {dtype}.* {told}") as caught:
        client.predict(model, row)
    assert caught.value.model == model


def test_a_client_sends_what_fits(client: Client) -> None:
    assert client.predict_batch("whole", [[1.0, True]]).outputs["y"].tolist() == [[1, 1]]
    assert client.predict_batch("real", [[0.1, None]]).outputs["y"][0, 0] == np.float32(0.1)
    assert client.predict_batch("text", [["a", b"b"]]).outputs["y"].tolist() == [["a", "b"]]
    with pytest.raises(ms.InvalidInputError, match="no array"):
        client.predict_batch("whole", [[1, 2], [3]])
    with pytest.raises(ms.InvalidInputError, match="UTF-8"):
        client.predict_batch("text", [["a", b"\xff"]])
    # A text is written, nothing else is made one.
    with pytest.raises(ms.InvalidInputError, match=r"input 'x' takes str.* None"):
        client.infer("text", {"x": np.array([["a", None]], object)})


def test_every_pair_of_types_is_held_exactly_or_refused() -> None:
    names = ("bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
    values = [-(2**63), -129, -128, -1, 0, 1, 127, 128, 255, 256, 2**31, 2**63, 2**64 - 1]
    for source in (*names, "float16", "float32", "float64", "object"):
        for value in values:
            try:
                with np.errstate(over="ignore"):
                    given = np.array([value]).astype(object).astype(source)
            except OverflowError:
                continue
            if given.item() != value:
                continue
            for target in names:
                low, high = (0, 1) if target == "bool" else cast_range(target)
                if low <= value <= high:
                    found = cast(given, np.dtype(target), "x")
                    assert found.dtype == target and int(found[0]) == value
                else:
                    with pytest.raises(ms.InvalidInputError):
                        cast(given, np.dtype(target), "x")


def cast_range(name: str) -> tuple[int, int]:
    return int(np.iinfo(name).min), int(np.iinfo(name).max)
