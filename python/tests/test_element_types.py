"""Element types that NumPy has not: what goes in, what comes out, with and without ml_dtypes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import modelserve as ms

onnx = pytest.importorskip("onnx")
ml_dtypes = pytest.importorskip("ml_dtypes")

INT4, FLOAT8, BFLOAT16, COMPLEX64 = 22, 17, 16, 14


def passing(number: int) -> bytes:
    """A model that hands its input on."""
    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(n, number, ["n"]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    opsets = [helper.make_opsetid("", 25)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())


def answer(number: int, x: Any) -> Any:
    return ms.load(passing(number)).run({"x": x})["y"]


@pytest.mark.parametrize(
    ("number", "dtype", "values"),
    [
        (INT4, ml_dtypes.int4, [-8, -1, 0, 7]),
        (FLOAT8, ml_dtypes.float8_e4m3fn, [-448.0, 0.25, 1.5]),
        (BFLOAT16, ml_dtypes.bfloat16, [1.5, -2.0]),
        (COMPLEX64, np.complex64, [1 + 2j, -3j]),
    ],
)
def test_arrays_go_in_and_come_out(number: int, dtype: Any, values: list[Any]) -> None:
    x = np.array(values, dtype)
    y = answer(number, x)
    assert y.dtype == x.dtype
    assert np.array_equal(y, x)


def test_plain_numbers_take_the_declared_type() -> None:
    y = answer(INT4, [7, -8])
    assert y.dtype == ml_dtypes.int4
    assert y.astype(int).tolist() == [7, -8]
    assert answer(FLOAT8, [1e6, 0.3]).astype(float).tolist() == [448.0, 0.3125]
    for wrong in ([9], np.array([1.5]), np.array([-9], np.int64)):
        with pytest.raises(ms.InvalidInputError):
            answer(INT4, wrong)


@pytest.mark.parametrize("number", [3, 6, 7, 9, 13])
@pytest.mark.parametrize("wrong", [[1.5], (1, 0.5), [float("nan")], [float("inf")], [None], ["1"]])
def test_a_list_for_whole_numbers_has_to_hold_whole_numbers(number: int, wrong: Any) -> None:
    with pytest.raises(ms.InvalidInputError):
        answer(number, wrong)


def test_lists_of_whole_numbers_are_taken_exactly() -> None:
    for number, given in (
        (7, [2**62 + 1, 1.0]),
        (7, [True, 2]),
        (13, [2**64 - 1, 1]),
        (6, (2.0, -3.0)),
        (7, []),
        (9, [1, 0]),
    ):
        assert answer(number, given).tolist() == [int(v) for v in given]
    for number, given in ((6, [2**31]), (3, [3e9]), (13, [-1]), (7, [2**63]), (9, [2])):
        with pytest.raises(ms.InvalidInputError):
            answer(number, given)


def test_without_the_package_answers_are_widened() -> None:
    program = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import modelserve as ms\n"
        "model = ms.load(sys.stdin.buffer.read())\n"
        "y = model.run({'x': [7, -8]})['y']\n"
        "print(y.dtype, y.tolist())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], input=passing(INT4), capture_output=True, check=False
    )
    assert run.stdout.decode().split() == ["int8", "[7,", "-8]"], run.stderr.decode()
