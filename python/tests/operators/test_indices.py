"""Gathering, scattering and selecting, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold, is_float


def indices(g: Draw, side: int, shape: list[int], whole: str | None = None) -> np.ndarray:
    """Valid indices into an axis, from the front and from behind."""
    count = int(np.prod(shape))
    found = g.rng().integers(-side, side, count) if side else np.zeros(count)
    return np.asarray(found).reshape(shape).astype(whole or g.pick(("int64", "int64", "int32")))


def gather(g: Draw) -> Case:
    x = g.values(g.dtype(allowed("Gather", 13)), g.shape(1, side=4), "small")
    axis = g.axis(x.ndim)
    shape = g.shape(0, 2)
    if x.shape[axis] == 0:
        shape = [0]
    where = indices(g, x.shape[axis], shape)
    attributes = {"axis": axis if axis or g.flag() else None}
    constant = g.constants(2)
    return single(
        "Gather", [x, where], attributes, constant=constant, want=lambda: [np.take(x, where, axis)]
    )


def gather_elements(g: Draw) -> Case:
    x = g.values(g.dtype(allowed("GatherElements", 13)), g.shape(1, empty=False), "small")
    axis = g.axis(x.ndim)
    shape = [g.int(1, side) for side in x.shape]
    shape[axis] = g.int(0, 4)
    where = indices(g, x.shape[axis], shape)

    def want() -> list[np.ndarray]:
        grid = list(np.indices(shape))
        grid[axis] = where.astype(np.int64)
        return [x[tuple(grid)]]

    attributes = {"axis": axis if axis or g.flag() else None}
    return single("GatherElements", [x, where], attributes, constant=g.constants(2), want=want)


def gather_nd(g: Draw) -> Case:
    x = g.values(g.dtype(allowed("GatherND", 13)), g.shape(1, 4, empty=False), "small")
    batch = g.int(0, x.ndim - 1)
    depth = g.int(1, x.ndim - batch)
    inner = g.shape(0, 2)
    shape = [*x.shape[:batch], *inner]
    parts = [indices(g, x.shape[batch + i], shape, "int64").reshape(shape) for i in range(depth)]
    where = np.stack(parts, -1)

    def want() -> list[np.ndarray]:
        front = int(np.prod(x.shape[:batch]))
        flat, at = x.reshape(front, *x.shape[batch:]), where.reshape(front, *where.shape[batch:])
        rows = [flat[i][tuple(np.moveaxis(at[i], -1, 0))] for i in range(front)]
        return [np.stack(rows).reshape([*shape, *x.shape[batch + depth :]])]

    attributes = {"batch_dims": batch if batch or g.flag() else None}
    return single("GatherND", [x, where], attributes, constant=g.constants(2), want=want)


UPDATES: dict[str, Any] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def combined(x: np.ndarray, at: list[Any], updates: Any, reduction: str | None) -> np.ndarray:
    """`x` after one update after another; in single precision where there are halves."""
    halves = x.dtype.name in ("float16", "bfloat16")
    y = x.astype(np.float32) if halves else x.copy()
    for place, value in zip(at, updates, strict=True):
        value = value.astype(y.dtype) if halves else value
        y[place] = value if reduction is None else UPDATES[reduction](y[place], value)
    return y.astype(x.dtype)


def reductions(g: Draw, dtype: str, opset: int, since: dict[str, int]) -> str | None:
    names = [name for name, first in since.items() if opset >= first]
    # Texts cannot be added, and what the sum of two bools is is not said.
    if dtype in ("string", "bool") or not names or g.int(0, 2) == 0:
        return None
    return str(g.pick(names))


def scatter_elements(g: Draw) -> Case:
    opset = g.pick((11, 13, 16, 18))
    dtype = g.dtype(allowed("ScatterElements", opset))
    x = g.values(dtype, g.shape(1, 3, empty=False), "small")
    axis = g.axis(x.ndim)
    shape = [g.int(1, side) for side in x.shape]
    reduction = reductions(g, dtype, opset, {"add": 16, "mul": 16, "max": 18, "min": 18})
    side = x.shape[axis]
    if reduction:
        shape[axis] = g.int(1, 4)
        where = indices(g, side, shape)
    else:
        # Each place once: the order of updates is not said.
        order = [*shape]
        order[axis] = side
        where = np.argsort(g.rng().random(order), axis)
        where = np.take(where, range(shape[axis]), axis)
        where = where - side * g.rng().integers(0, 2, shape)
    updates = g.values(dtype, shape, "small")

    def want() -> list[np.ndarray]:
        grid = list(np.indices(shape))
        grid[axis] = where.astype(np.int64)
        places = list(zip(*(index.ravel() for index in grid), strict=True))
        return [combined(x, places, updates.ravel(), reduction)]

    attributes = {"axis": axis if axis or g.flag() else None, "reduction": reduction}
    op = "Scatter" if opset == 11 and g.flag() else "ScatterElements"
    return single(
        op,
        [x, where.astype(g.pick(("int64", "int32"))), updates],
        attributes,
        opset=9 if op == "Scatter" else opset,
        constant=g.constants(3),
        want=want,
    )


def scatter_nd(g: Draw) -> Case:
    opset = g.pick((11, 13, 16, 18))
    dtype = g.dtype(allowed("ScatterND", opset))
    x = g.values(dtype, g.shape(1, 3, empty=False), "small")
    depth = g.int(1, x.ndim)
    reduction = reductions(g, dtype, opset, {"add": 16, "mul": 16, "max": 18, "min": 18})
    places = list(np.ndindex(*x.shape[:depth]))
    rng = g.rng()
    count = g.int(0, min(4, len(places)))
    chosen = [places[i] for i in rng.choice(len(places), count, replace=bool(reduction))]
    where = np.array(chosen, np.int64).reshape(count, depth)
    sides = np.array(x.shape[:depth])
    where = where - sides * rng.integers(0, 2, where.shape)
    if count and count % 2 == 0 and g.flag():
        where = where.reshape(2, count // 2, depth)
    updates = g.values(dtype, [*where.shape[:-1], *x.shape[depth:]], "small")
    at = [tuple(int(i) for i in place) for place in where.reshape(-1, depth)]
    rows = updates.reshape(count, *x.shape[depth:])
    return single(
        "ScatterND",
        [x, where, updates],
        {"reduction": reduction},
        opset=opset,
        constant=g.constants(3),
        want=lambda: [combined(x, at, rows, reduction)],
    )


def out_of_range(g: Draw) -> Case:
    """An error or, where the specification leaves it open, any answer; no panic."""
    x = g.values("float32", g.shape(1, 3), "small")
    edges = np.array([-(2**63), 2**63 - 1, -100, 100, -5, 5, 0], np.int64)
    where = g.rng().choice(edges, g.shape(0, 3))
    op = g.pick(("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "OneHot"))
    if op == "OneHot":
        values = [where, np.array(g.pick((0, 1, 3)), np.int64), np.array([0, 1], np.float32)]
    elif op.startswith("Scatter"):
        values = [x, where, g.values("float32", g.shape(0, 3), "small")]
    else:
        values = [x, where]
    return single(op, values, constant=g.constants(len(values)), judged=False)


def where(g: Draw) -> Case:
    dtype = g.dtype(allowed("Where", 16, 1))
    shape = g.shape()
    condition = g.values("bool", g.narrower(shape))
    a, b = (g.values(dtype, g.narrower(shape)) for _ in range(2))
    return single(
        "Where",
        [condition, a, b],
        opset=16,
        constant=g.constants(3),
        want=lambda: [np.where(condition, a, b).astype(a.dtype)],
    )


def top(g: Draw) -> Case:
    """Ties go to the lower index; without `sorted` the order is not said."""
    opset = g.pick((10, 11))
    dtype = g.dtype(allowed("TopK", opset))
    x = g.values(dtype, g.shape(1), g.pick(("small", "normal")))
    axis = g.axis(x.ndim)
    k = np.array([g.int(0, x.shape[axis])], np.int64)
    largest = g.pick((None, 0, 1)) if opset >= 11 else None
    attributes = {"axis": axis if axis != -1 or g.flag() else None, "largest": largest}

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64) if is_float(dtype) else x.astype(object)
        order = np.argsort(wide if largest == 0 else -wide, axis, kind="stable")
        order = np.take(order, range(int(k[0])), axis).astype(np.int64)
        return [np.take_along_axis(x, order, axis), order]

    constant = g.constants(2)
    return single("TopK", [x, k], attributes, outputs=2, opset=opset, constant=constant, want=want)


def unique(g: Draw) -> Case:
    """onnxruntime is the oracle: NumPy orders the unique slices of an axis in another way."""
    dtype = g.pick(("float32", "float64", "int64", "int8", "string"))
    x = g.values(dtype, g.shape(1, 3, empty=False), "small")
    attributes = {"axis": g.axis(x.ndim) if g.flag() else None, "sorted": g.pick((None, 0, 1))}
    wanted = [True, g.flag(), g.flag(), g.flag()]
    while not wanted[-1]:
        wanted.pop()
    return single("Unique", [x], attributes, outputs=wanted, constant=g.constants(1))


def non_zero(g: Draw) -> Case:
    x = g.values(g.dtype([d for d in allowed("NonZero", 13) if d != "string"]), g.shape(1))
    return single(
        "NonZero",
        [x],
        constant=g.constants(1),
        want=lambda: [np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)],
    )


def one_hot(g: Draw) -> Case:
    kind, other = g.pick(("int64", "int32", "float32")), g.pick(("int64", "int32", "float32"))
    depth = g.int(1, 4)
    at = np.asarray(g.rng().integers(-depth - 1, depth + 1, g.shape(0, 3))).astype(kind)
    dtype = g.pick(("float32", "int64", "int32", "string", "bool", "float64"))
    values = g.values(dtype, [2], "small")
    axis = g.int(-at.ndim - 1, at.ndim)
    size = np.array([depth] if g.flag() else depth, other)

    def want() -> list[np.ndarray]:
        wrapped = np.where(at < 0, at + depth, at)
        place = np.arange(depth).reshape(-1, *[1] * at.ndim) == wrapped[None]
        chosen = np.where(place, values[1], values[0]).astype(values.dtype)
        return [np.moveaxis(chosen, 0, axis)]

    attributes = {"axis": axis if axis != -1 or g.flag() else None}
    return single("OneHot", [at, size, values], attributes, constant=g.constants(3), want=want)


def compress(g: Draw) -> Case:
    x = g.values(g.dtype(allowed("Compress", 11)), g.shape(1), "small")
    axis = g.axis(x.ndim) if g.flag() else None
    side = x.size if axis is None else x.shape[axis]
    condition = g.values("bool", [g.int(0, side)])
    return single(
        "Compress",
        [x, condition],
        {"axis": axis},
        constant=g.constants(2),
        want=lambda: [np.compress(condition, x, axis)],
    )


def test_gathering_and_scattering() -> None:
    hold(gather, gather_elements, gather_nd, scatter_elements, scatter_nd, examples=30)


def test_indices_out_of_range() -> None:
    hold(out_of_range, least=0)


def test_selection() -> None:
    hold(where, top, unique, non_zero, one_hot, compress, examples=30)
