"""Element-wise operators with broadcasting, against NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .case import HALVES, Case, single
from .strategies import Draw, allowed, hold, is_float


def lifted(f: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """`f` of the arrays; of halves in single precision, rounded at the end."""
    dtype = arrays[0].dtype
    if dtype in HALVES:
        return np.asarray(f(*(a.astype(np.float32) for a in arrays))).astype(dtype)
    return np.asarray(f(*arrays)).astype(dtype)


def truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient; of whole numbers towards zero, and not down as NumPy has it."""
    if a.dtype.kind == "f":
        return np.true_divide(a, b)
    down = np.floor_divide(a, b)
    uneven = np.mod(a, b) != 0
    return down + (uneven & ((a < 0) != (b < 0))).astype(a.dtype)


ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": truncated}


def operands(g: Draw, dtype: str, kind: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays that broadcast together, either of them the smaller one."""
    shape = g.shape()
    a, b = g.narrower(shape), g.narrower(shape)
    if g.flag():
        a = shape
    return g.values(dtype, a, kind), g.values(dtype, b, kind)


def divisors(b: np.ndarray) -> np.ndarray:
    """Whole numbers without 0 and -1: the specification says nothing of the least number divided
    by -1 and of division by zero, and onnxruntime ends the process at them."""
    if b.dtype.kind not in "iu":
        return b
    bad = b == 0
    if b.dtype.kind == "i":
        bad |= b == -1
    return np.where(bad, b.dtype.type(3), b)


def arithmetic(g: Draw) -> Case:
    op = g.pick(list(ARITHMETIC))
    opset = g.pick((7, 13, 14, 21))
    dtype = g.dtype(allowed(op, opset))
    a, b = operands(g, dtype)
    if op == "Div":
        b = divisors(b)
    want = functools.partial(lifted, ARITHMETIC[op], a, b)
    return single(op, [a, b], opset=opset, constant=g.constants(2), want=lambda: [want()])


def before_broadcasting(g: Draw) -> Case:
    """Opset 6: the second operand has the first one's dimensions from `axis` on."""
    op = g.pick(list(ARITHMETIC))
    dtype = g.dtype(allowed(op, 6))
    shape = g.shape(1)
    first = g.int(0, len(shape) - 1)
    last = g.int(first, len(shape))
    a = g.values(dtype, shape, "small")
    b = divisors(g.values(dtype, shape[first:last], "small"))
    suffix = last == len(shape) and g.flag()
    attributes = {"broadcast": 1, "axis": None if suffix else first}
    aligned = b.reshape(b.shape + (1,) * (len(shape) - last))
    return single(
        op,
        [a, b],
        attributes,
        opset=6,
        constant=g.constants(2),
        want=lambda: [lifted(ARITHMETIC[op], a, aligned)],
    )


def division_by_anything(g: Draw) -> Case:
    """No answer is right, and none may be a panic."""
    op = g.pick(("Div", "Mod"))
    dtype = g.dtype(allowed(op, 14), "int")
    a, b = operands(g, dtype, "corners")
    b = np.where(b == 2, np.array(-1).astype(b.dtype), b)
    return single(op, [a, b], constant=g.constants(2), judged=False)


def remainder(g: Draw) -> Case:
    opset = g.pick((10, 13))
    dtype = g.dtype(allowed("Mod", opset))
    a, b = operands(g, dtype)
    b = divisors(b)
    fmod = is_float(dtype) or g.flag()
    f = np.fmod if fmod else np.mod
    return single(
        "Mod",
        [a, b],
        {"fmod": int(fmod) if fmod or g.flag() else None},
        opset=opset,
        constant=g.constants(2),
        want=lambda: [lifted(f, a, b)],
    )


def power(g: Draw) -> Case:
    opset = g.pick((7, 12, 13, 15))
    dtype = g.dtype(allowed("Pow", opset))
    other = g.dtype(allowed("Pow", opset, 1)) if opset > 7 else dtype
    base, exponent = operands(g, dtype, "small")
    if is_float(dtype) and is_float(other):
        base = g.values(dtype, base.shape, g.pick(("special", "normal")))
        exponent = g.values(other, exponent.shape, g.pick(("special", "small")))
    else:
        # Of whole numbers to negative powers the specification says nothing.
        powers = g.rng().integers(0, 5, exponent.shape)
        exponent = np.asarray(powers).astype(g.values(other, [], "small").dtype)

    def want() -> list[np.ndarray]:
        wide = np.power(base.astype(np.float64), exponent.astype(np.float64))
        return [np.asarray(wide).astype(base.dtype)]

    return single("Pow", [base, exponent], opset=opset, constant=g.constants(2), want=want)


def variadic(g: Draw) -> Case:
    op = g.pick(("Max", "Min", "Sum", "Mean"))
    opset = g.pick((8, 13))
    dtype = g.dtype(allowed(op, opset))
    shape = g.shape()
    kind = g.pick(("small", "normal", "special"))
    arrays = [g.values(dtype, g.narrower(shape), kind) for _ in range(g.int(1, 4))]

    def mean(*xs: np.ndarray) -> np.ndarray:
        return functools.reduce(np.add, xs) / np.float32(len(xs)).astype(xs[0].dtype)

    # A NaN wins, as in the reference implementation.
    step: Any = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}.get(op)
    f = mean if op == "Mean" else lambda *xs: functools.reduce(step, xs)
    return single(
        op,
        arrays,
        opset=opset,
        constant=g.constants(len(arrays)),
        want=lambda: [lifted(f, *arrays)],
    )


COMPARISONS = {
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
}


def comparison(g: Draw) -> Case:
    op = g.pick(list(COMPARISONS))
    opset = g.pick((13, 16, 19))
    a, b = operands(g, g.dtype(allowed(op, opset)))
    f = COMPARISONS[op]
    return single(
        op,
        [a, b],
        opset=opset,
        constant=g.constants(2),
        want=lambda: [np.asarray(f(a, b)).astype(bool)],
    )


def logic(g: Draw) -> Case:
    op = g.pick(("And", "Or", "Xor", "Not"))
    a, b = operands(g, "bool")
    if op == "Not":
        return single(op, [a], constant=g.constants(1), want=lambda: [~a])
    f = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}[op]
    return single(op, [a, b], constant=g.constants(2), want=lambda: [f(a, b)])


def kinds_of_floats(g: Draw) -> Case:
    op = g.pick(("IsNaN", "IsInf"))
    opset = g.pick((13, 20))
    x = g.values(g.dtype(allowed(op, opset)), g.shape(), "corners")
    if op == "IsNaN":
        return single(op, [x], opset=opset, want=lambda: [np.isnan(x)])
    above, below = g.pick((None, 0, 1)), g.pick((None, 0, 1))
    attributes = {"detect_positive": above, "detect_negative": below}

    def want() -> list[np.ndarray]:
        found = np.isinf(x)
        found &= (above != 0) | (x < 0)
        return [found & ((below != 0) | (x > 0))]

    return single(op, [x], attributes, opset=opset, constant=g.constants(1), want=want)


def bitwise(g: Draw) -> Case:
    op = g.pick(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"))
    a, b = operands(g, g.dtype(allowed(op, 18)))
    if op == "BitwiseNot":
        return single(op, [a], constant=g.constants(1), want=lambda: [~a])
    f = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
    return single(op, [a, b], constant=g.constants(2), want=lambda: [f[op](a, b)])


def shift(g: Draw) -> Case:
    dtype = g.dtype(allowed("BitShift", 11))
    a, b = operands(g, dtype)
    # By as many bits as there are and more: C leaves it undefined, and so does the specification.
    judged = g.int(0, 4) > 0
    if judged:
        b = b % np.array(b.dtype.itemsize * 8, b.dtype)
    way = g.pick(("LEFT", "RIGHT"))
    f = np.left_shift if way == "LEFT" else np.right_shift
    return single(
        "BitShift",
        [a, b],
        {"direction": way},
        constant=g.constants(2),
        want=lambda: [f(a, b)],
        judged=judged,
    )


def test_arithmetic() -> None:
    hold(arithmetic, before_broadcasting, remainder, power, variadic, examples=30)


def test_division_without_an_answer() -> None:
    hold(division_by_anything, least=0)


def test_comparison_and_logic() -> None:
    hold(comparison, logic, kinds_of_floats, examples=15)


def test_bitwise() -> None:
    hold(bitwise, shift, examples=15)
