"""Nodes of random graphs that compute element by element.

Each function adds one node, sometimes with those it needs; where nothing fits it raises `Reject`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from .graphs import EPSILON, FLOATS, INTS, Growing, Reject, above_one, together


def sums(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype != "bool")
    b = g.partner(a)
    if g.chance(0.5):
        a, b = b, a
    bound, step = a.bound + b.bound, min(a.step, b.step)
    g.add(
        g.choice(("Add", "Sub")),
        [a, b],
        g.known_as(a.dtype, together(a, b), bound, step, a.err + b.err),
    )


def product(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype != "bool")
    b = g.partner(a)
    err = a.err * b.bound + b.err * a.bound
    g.add(
        "Mul", [a, b], g.known_as(a.dtype, together(a, b), a.bound * b.bound, a.step * b.step, err)
    )


def quotient(g: Growing) -> None:
    """By powers of two, or by an absolute value and one."""
    a = g.number()
    if g.chance(0.5):
        power = np.asarray(2.0 ** g.rng.integers(-1, 3, a.shape[g.int(0, a.rank) :]))
        b = g.constant(power.astype(a.dtype))
        g.add(
            "Div", [a, b], g.known_as(a.dtype, together(a, b), 2 * a.bound, a.step / 4, 2 * a.err)
        )
        return
    b = above_one(g, g.partner(a, constant=0))
    err = a.err + b.err * a.bound
    g.add("Div", [a, b], g.known_as(a.dtype, together(a, b), a.bound, 0, err))


def extremes(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype != "bool")
    rest = [g.partner(a) for _ in range(g.int(1, 2))]
    many = [a, *rest]
    bound, step = max(v.bound for v in many), min(v.step for v in many)
    err = max(v.err for v in many)
    g.add(g.choice(("Max", "Min")), many, g.known_as(a.dtype, together(*many), bound, step, err))


def several(g: Growing) -> None:
    a = g.number()
    many = [a, *(g.partner(a) for _ in range(g.int(0, 2)))]
    bound, err = sum(v.bound for v in many), sum(v.err for v in many)
    # onnxruntime has no mean of double precision.
    op = g.choice(("Sum", "Mean")) if a.dtype == "float32" else "Sum"
    step = min(v.step for v in many) if op == "Sum" else 0
    g.add(op, many, g.known_as(a.dtype, together(*many), bound, step, err))


def whole_division(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype in INTS)
    by = g.choice((2, 3, 5, -4))
    b = g.constant(np.full(a.shape[g.int(0, a.rank) :], by, a.dtype))
    if g.chance(0.5):
        g.add("Div", [a, b], g.known_as(a.dtype, a.shape, a.bound, 1, 0))
    else:
        g.add("Mod", [a, b], g.known_as(a.dtype, a.shape, 5, 1, 0), fmod=g.int(0, 1))


def comparison(g: Growing) -> None:
    a = g.pick(lambda v: v.exact and v.dtype != "bool")
    b = g.partner(a)
    if not b.exact:
        raise Reject
    op = g.choice(("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual"))
    g.add(op, [a, b], g.known_as("bool", together(a, b), 1, 1, 0))


def logic(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype == "bool")
    if g.chance(0.3):
        g.add("Not", [a], g.known_as("bool", a.shape, 1, 1, 0))
        return
    b = g.partner(a)
    g.add(g.choice(("And", "Or", "Xor")), [a, b], g.known_as("bool", together(a, b), 1, 1, 0))


def where(g: Growing) -> None:
    c = g.pick(lambda v: v.dtype == "bool")
    a = g.pick(lambda v: v.dtype != "bool")
    b = g.partner(a)
    shape = together(c, a, b)
    bound, step, err = max(a.bound, b.bound), min(a.step, b.step), max(a.err, b.err)
    g.add("Where", [c, a, b], g.known_as(a.dtype, shape, bound, step, err))


def exact_unary(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype != "bool")
    op = g.choice(("Abs", "Neg", "Identity", "Relu", "LeakyRelu", "Clip"))
    same = g.known_as(a.dtype, a.shape, a.bound, a.step, a.err)
    if a.dtype in INTS and op in ("Relu", "LeakyRelu"):
        op = "Abs"
    if op == "LeakyRelu":
        half = g.known_as(a.dtype, a.shape, a.bound, a.step / 2, a.err)
        g.add(op, [a], half, alpha=0.5)
    elif op == "Clip":
        low, high = (g.constant(np.array(n, a.dtype)) for n in (-1, 2))
        kept = g.choice(([a, low, high], [a, low], [a, "", high]))
        g.add(op, kept, replace(same, bound=max(a.bound, 2)))
    else:
        g.add(op, [a], same)


def rounding(g: Growing) -> None:
    a = g.exact()
    op = g.choice(("Floor", "Ceil", "Round", "Sign"))
    g.add(op, [a], g.known_as(a.dtype, a.shape, a.bound + 1, 1, 0))


#: Greatest slope and greatest result of functions that are smooth.
SMOOTH: dict[str, tuple[float, Callable[[float], float]]] = {
    "Sigmoid": (0.25, lambda b: 1),
    "Tanh": (1, lambda b: 1),
    "Erf": (1.13, lambda b: 1),
    "Softplus": (1, lambda b: b + 1),
    "Softsign": (1, lambda b: 1),
    "Elu": (1, lambda b: max(b, 1)),
    "Selu": (1.76, lambda b: 2 * max(b, 1)),
    "HardSwish": (1.5, lambda b: b),
    "HardSigmoid": (0.2, lambda b: 1),
    "Sin": (1, lambda b: 1),
    "Cos": (1, lambda b: 1),
    "Atan": (1, lambda b: 2),
    "ThresholdedRelu": (1, lambda b: b),
    "Celu": (1, lambda b: max(b, 1)),
    "Asinh": (1, lambda b: b),
}
#: Not for double precision in onnxruntime.
SINGLE = (
    *(
        "Erf",
        "Softsign",
        "HardSwish",
        "HardSigmoid",
        "ThresholdedRelu",
        "Celu",
        "Asinh",
        "Softplus",
    ),
    *("Atan", "Elu", "Selu", "Cos"),
)


def smooth(g: Growing) -> None:
    op = g.choice(list(SMOOTH))
    a = g.pick(lambda v: v.dtype == "float32" if op in SINGLE else v.dtype in FLOATS)
    if op in ("Sin", "Cos") and a.bound > 100:
        raise Reject
    if op == "ThresholdedRelu" and not a.exact:
        raise Reject
    slope, greatest = SMOOTH[op]
    g.add(op, [a], g.known_as(a.dtype, a.shape, greatest(a.bound), 0, slope * a.err))


def curved(g: Growing) -> None:
    """Functions that are steep somewhere, where they are not."""
    a = g.pick(lambda v: v.dtype in FLOATS and v.bound <= 1e3)
    if a.bound <= 3 and g.chance(0.5):
        top = math.exp(a.bound)
        g.add("Exp", [a], g.known_as(a.dtype, a.shape, top, 0, top * a.err))
        return
    b = above_one(g, a)
    op = g.choice(("Sqrt", "Log", "Reciprocal"))
    g.add(op, [b], g.known_as(b.dtype, b.shape, b.bound, 0, b.err))


def square(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype in FLOATS and v.bound <= 1e3)
    two = g.constant(np.array(2, a.dtype))
    # By way of a logarithm a power may be inexact.
    g.add("Pow", [a, two], g.known_as(a.dtype, a.shape, a.bound**2, 0, 2 * a.bound * a.err))


def slope(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype == "float32" and v.rank > 0)
    w = g.weights(a.dtype, a.shape[g.int(0, a.rank - 1) :])
    g.add(
        "PRelu",
        [a, w],
        g.known_as(
            a.dtype, a.shape, max(a.bound, a.bound * w.bound), min(a.step, a.step * 0.25), 2 * a.err
        ),
    )


def cast(g: Growing) -> None:
    a = g.pick(lambda v: v.exact)
    to = g.choice(("float32", "float64", "int64", "int32", "bool"))
    step = 1.0 if to in INTS or a.dtype == "bool" else a.step
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    g.add("Cast", [a], g.known_as(to, a.shape, a.bound, step, 0), to=kind)


def cast_inexact(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype in FLOATS and not v.exact)
    to = g.choice(FLOATS)
    kind = TensorProto.FLOAT if to == "float32" else TensorProto.DOUBLE
    g.add(
        "Cast",
        [a],
        g.known_as(to, a.shape, a.bound, 0, a.err + EPSILON["float32"] * a.bound),
        to=kind,
    )
