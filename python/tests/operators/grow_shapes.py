"""Nodes of random graphs that move elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import numpy_helper

from .graphs import Growing, Value, moved


def reshape(g: Growing) -> None:
    a = g.pick(lambda v: True)
    sides = list(a.shape)
    g.rng.shuffle(sides)
    if len(sides) > 1 and g.chance(0.6):
        sides = [sides[0] * sides[1], *sides[2:]]
    if len(sides) < 4 and g.chance(0.3):
        sides.insert(g.int(0, len(sides)), 1)
    asked = list(sides)
    if asked and g.chance(0.4):
        asked[g.int(0, len(asked) - 1)] = -1
    g.add("Reshape", [a, g.ints(*asked)], moved(g, a, sides))


def reshape_back(g: Growing) -> None:
    """To the shape of another value of as many elements, read from that value."""
    a = g.pick(lambda v: v.rank > 0)
    b = g.pick(lambda v: v.size == a.size and v.rank > 0)
    shape = g.known_as("int64", [b.rank], 600, 1, 0)
    g.add("Shape", [b], shape)
    g.add("Reshape", [a, shape], moved(g, a, b.shape))


def transpose(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 1)
    perm = [int(i) for i in g.rng.permutation(a.rank)]
    g.add("Transpose", [a], moved(g, a, [a.shape[i] for i in perm]), perm=perm)


def squeeze(g: Growing) -> None:
    a = g.pick(lambda v: 1 in v.shape)
    axis = g.choice([i for i, s in enumerate(a.shape) if s == 1])
    shape = [s for i, s in enumerate(a.shape) if i != axis]
    g.add("Squeeze", [a, g.ints(axis - a.rank if g.chance(0.5) else axis)], moved(g, a, shape))


def unsqueeze(g: Growing) -> None:
    a = g.pick(lambda v: v.rank < 4)
    axis = g.int(0, a.rank)
    shape = [*a.shape[:axis], 1, *a.shape[axis:]]
    g.add("Unsqueeze", [a, g.ints(axis)], moved(g, a, shape))


def flatten(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0)
    axis = g.int(0, a.rank)
    shape = [math.prod(a.shape[:axis]), math.prod(a.shape[axis:])]
    g.add("Flatten", [a], moved(g, a, shape), axis=axis)


def expand(g: Growing) -> None:
    a = g.pick(lambda v: v.rank < 4)
    shape = [g.int(1, 3), *(g.int(1, 3) if s == 1 else s for s in a.shape)]
    g.add("Expand", [a, g.ints(*shape)], moved(g, a, shape))


def tile(g: Growing) -> None:
    a = g.pick(lambda v: 0 < v.rank < 4)
    repeats = [g.int(1, 2) for _ in a.shape]
    shape = [s * r for s, r in zip(a.shape, repeats, strict=True)]
    g.add("Tile", [a, g.ints(*repeats)], moved(g, a, shape))


def concat(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0)
    axis = g.int(0, a.rank - 1)

    def fits(v: Value) -> bool:
        if (v.dtype, v.rank) != (a.dtype, a.rank):
            return False
        return all(
            i == axis or s == t for i, (s, t) in enumerate(zip(v.shape, a.shape, strict=True))
        )

    many = [a, *(g.pick(fits) for _ in range(g.int(1, 2)))]
    shape = list(a.shape)
    shape[axis] = sum(v.shape[axis] for v in many)
    bound, step = max(v.bound for v in many), min(v.step for v in many)
    result = g.known_as(a.dtype, shape, bound, step, max(v.err for v in many))
    g.add("Concat", many, result, axis=axis - a.rank if g.chance(0.5) else axis)


def split(g: Growing) -> None:
    a = g.pick(lambda v: max(v.shape, default=0) > 1)
    axis = g.choice([i for i, s in enumerate(a.shape) if s > 1])
    first = g.int(1, a.shape[axis] - 1)
    parts = []
    for side in (first, a.shape[axis] - first):
        shape = list(a.shape)
        shape[axis] = side
        parts.append(moved(g, a, shape))
    g.add("Split", [a, g.ints(first, a.shape[axis] - first)], *parts, axis=axis)


def slice_(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0)
    axis = g.int(0, a.rank - 1)
    side = a.shape[axis]
    shape = list(a.shape)
    if g.chance(0.3):
        bounds, shape[axis] = (-1, -side - 1, -1), side
    else:
        first = g.int(0, side - 1)
        step = g.int(1, 2)
        bounds, shape[axis] = (first, 2**62, step), -(-(side - first) // step)
    start, end, by = bounds
    inputs = [a, g.ints(start), g.ints(end), g.ints(axis), g.ints(by)]
    g.add("Slice", inputs, moved(g, a, shape))


def pad(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0 and v.dtype in ("float32", "float64", "int64", "int32"))
    mode = g.choice(("constant", "edge", "reflect"))
    most = [s - 1 if mode == "reflect" else 2 for s in a.shape]
    before, after = ([g.int(0, min(m, 2)) for m in most] for _ in range(2))
    shape = [s + b + e for s, b, e in zip(a.shape, before, after, strict=True)]
    inputs: list[Any] = [a, g.ints(*before, *after)]
    if mode == "constant" and g.chance(0.5):
        inputs.append(g.constant(np.array(1, a.dtype)))
    result = g.known_as(a.dtype, shape, max(a.bound, 1), min(a.step, 1), a.err)
    g.add("Pad", inputs, result, mode=mode)


def gather(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0)
    axis = g.int(0, a.rank - 1)
    shape = [g.int(1, 3) for _ in range(g.int(0, 2))]
    side = a.shape[axis]
    at = g.constant(np.asarray(g.rng.integers(-side, side, shape)).astype(np.int64))
    g.add(
        "Gather", [a, at], moved(g, a, [*a.shape[:axis], *shape, *a.shape[axis + 1 :]]), axis=axis
    )


def gather_elements(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0)
    axis = g.int(0, a.rank - 1)
    side = a.shape[axis]
    at = g.constant(np.asarray(g.rng.integers(-side, side, a.shape)).astype(np.int64))
    g.add("GatherElements", [a, at], moved(g, a, a.shape), axis=axis)


def scatter(g: Growing) -> None:
    """Rows of the first axis, each once."""
    a = g.pick(lambda v: v.rank > 0)
    rows = g.int(1, a.shape[0])
    at = g.rng.permutation(a.shape[0])[:rows].astype(np.int64).reshape(-1, 1)
    update = g.weights(a.dtype, [rows, *a.shape[1:]])
    result = g.known_as(a.dtype, a.shape, max(a.bound, 2), min(a.step, update.step), a.err)
    g.add("ScatterND", [a, g.constant(at), update], result)


def triangle(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 1 and v.dtype in ("float32", "float64", "int64"))
    g.add(
        "Trilu",
        [a, g.constant(np.array(g.int(-1, 1), np.int64))],
        moved(g, a, a.shape),
        upper=g.int(0, 1),
    )


def filled(g: Growing) -> None:
    """What a shape that is read makes of a constant."""
    a = g.pick(lambda v: v.rank > 0)
    shape = g.known_as("int64", [a.rank], 600, 1, 0)
    g.add("Shape", [a], shape)
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    g.add("ConstantOfShape", [shape], g.known_as("float32", a.shape, 0.5, 0.5, 0), value=value)
