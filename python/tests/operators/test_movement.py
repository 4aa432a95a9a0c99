"""Operators that move elements and compute nothing, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from .case import Case, single
from .strategies import Draw, allowed, dtype_of, hold

INT64 = np.iinfo(np.int64)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def anything(g: Draw, op: str, opset: int, low: int = 0, high: int = 4, **shape: Any) -> np.ndarray:
    """An array of any type that the operator takes; its elements are looked at by nobody."""
    dtype = g.dtype(allowed(op, opset))
    kind = g.pick(("small", "special")) if "float" in dtype else "small"
    return g.values(dtype, g.shape(low, high, **shape), kind)


def reshape(g: Draw) -> Case:
    opset = g.pick((5, 13, 14, 21))
    x = anything(g, "Reshape", opset)
    sides = [int(s) for s in x.shape]
    g.rng().shuffle(sides)
    if sides and g.flag():
        first = sides.pop()
        sides[:1] = [first * (sides[0] if sides else 1)]
    if g.flag():
        sides.insert(g.int(0, len(sides)), 1)
    zero = opset >= 14 and g.flag()
    if not zero and 0 in sides:
        # A zero copies the side of the input in its place, so it has to stay there.
        sides = [int(s) for s in x.shape]
    for i, side in enumerate(sides):
        if not zero and i < x.ndim and x.shape[i] == side and g.flag():
            sides[i] = 0
    if sides and 0 not in x.shape and g.flag():
        sides[g.int(0, len(sides) - 1)] = -1
    attributes = {"allowzero": 1} if zero else {}
    return single(
        "Reshape",
        [x, ints(*sides)],
        attributes,
        opset=max(opset, 7),
        constant=g.constants(2),
        want=lambda: [x.reshape(_resolved(sides, x.shape, zero))],
    )


def _resolved(sides: list[int], shape: tuple[int, ...], zero: bool) -> list[int]:
    return [shape[i] if s == 0 and not zero else s for i, s in enumerate(sides)]


def transpose(g: Draw) -> Case:
    x = anything(g, "Transpose", 13)
    perm = [int(i) for i in g.rng().permutation(x.ndim)] if x.ndim and g.flag() else None
    constant = g.constants(1)
    return single(
        "Transpose", [x], {"perm": perm}, constant=constant, want=lambda: [x.transpose(perm)]
    )


def squeeze(g: Draw) -> Case:
    opset = g.pick((11, 13, 21))
    x = anything(g, "Squeeze", opset, side=2)
    ones = [i for i, side in enumerate(x.shape) if side == 1]
    chosen = [i for i in ones if g.flag()]
    axes = [i - x.ndim if g.flag() else i for i in chosen]
    if not axes:
        return single(
            "Squeeze", [x], opset=opset, constant=g.constants(1), want=lambda: [x.squeeze()]
        )
    y = x.squeeze(tuple(chosen))
    if opset == 11:
        return single("Squeeze", [x], {"axes": axes}, opset=11, want=lambda: [y])
    return single(
        "Squeeze", [x, ints(*axes)], opset=opset, constant=g.constants(2), want=lambda: [y]
    )


def unsqueeze(g: Draw) -> Case:
    opset = g.pick((11, 13, 21))
    x = anything(g, "Unsqueeze", opset, 0, 3)
    rank = x.ndim + g.int(1, 2)
    chosen = [int(i) for i in g.rng().permutation(rank)[: rank - x.ndim]]
    axes = [i - rank if g.flag() else i for i in chosen]
    y = np.expand_dims(x, tuple(chosen))
    if opset == 11:
        return single("Unsqueeze", [x], {"axes": axes}, opset=11, want=lambda: [y])
    values = [x, ints(*axes)]
    return single("Unsqueeze", values, opset=opset, constant=g.constants(2), want=lambda: [y])


def flatten(g: Draw) -> Case:
    x = anything(g, "Flatten", 13)
    axis = g.int(-x.ndim, x.ndim)
    if axis == 1 and g.flag():
        axis = 1
    front = x.shape[: axis if axis >= 0 else axis + x.ndim]
    rows = int(np.prod(front))
    columns = int(np.prod(x.shape[len(front) :]))
    return single(
        "Flatten",
        [x],
        {"axis": axis},
        constant=g.constants(1),
        want=lambda: [x.reshape(rows, columns)],
    )


def expand(g: Draw) -> Case:
    dtype = g.dtype(allowed("Expand", 13))
    shape = g.shape()
    x = g.values(dtype, g.narrower(shape), "small")
    # Either of the two may be the longer one.
    target = g.narrower(shape)
    full = np.broadcast_shapes(x.shape, target)
    values = [x, ints(*target)]
    return single(
        "Expand", values, constant=g.constants(2), want=lambda: [np.broadcast_to(x, full)]
    )


def tile(g: Draw) -> Case:
    opset = g.pick((6, 13))
    x = anything(g, "Tile", opset, 1)
    repeats = [int(n) for n in g.rng().integers(0, 4, x.ndim)]
    return single(
        "Tile",
        [x, ints(*repeats)],
        opset=max(opset, 7),
        constant=g.constants(2),
        want=lambda: [np.tile(x, repeats)],
    )


def concat(g: Draw) -> Case:
    dtype = g.dtype(allowed("Concat", 13))
    shape = g.shape(1)
    axis = g.axis(len(shape))
    arrays = []
    for _ in range(g.int(1, 4)):
        shape[axis] = g.int(0, 3)
        arrays.append(g.values(dtype, shape, "small"))
    constant = g.constants(len(arrays))
    return single(
        "Concat",
        arrays,
        {"axis": axis},
        constant=constant,
        want=lambda: [np.concatenate(arrays, axis)],
    )


def split(g: Draw) -> Case:
    opset = g.pick((11, 13, 18))
    x = anything(g, "Split", opset, 1)
    axis = g.axis(x.ndim)
    side, parts = x.shape[axis], g.int(1, 3)
    attributes: dict[str, Any] = {"axis": axis if axis or g.flag() else None}
    if g.flag():
        cuts = np.sort(g.rng().integers(0, side + 1, parts - 1))
        lengths = [int(n) for n in np.diff([0, *cuts, side])]
        if opset == 11:
            # onnxruntime wants lengths above zero there.
            attributes["split"] = lengths
        values = [x] if opset == 11 else [x, ints(*lengths)]
    else:
        values = [x]
        if opset == 18:
            attributes["num_outputs"] = parts
            each = -(-side // parts)
            lengths = [each] * (parts - 1) + [side - each * (parts - 1)]
            if lengths[-1] < 0 or (parts > 1 and side == 0):
                parts, lengths = 1, [side]
                attributes["num_outputs"] = 1
        else:
            if side % parts:
                parts = 1
            lengths = [side // parts] * parts
    bounds = np.cumsum(lengths)[:-1]
    return single(
        "Split",
        values,
        attributes,
        outputs=parts,
        opset=opset,
        constant=g.constants(len(values)),
        want=lambda: np.split(x, bounds, axis),
    )


def slice_(g: Draw) -> Case:
    x = anything(g, "Slice", 13, 1)
    axes = g.axes(x.ndim, 1)
    edges = [INT64.min, INT64.max, INT64.min + 1, -100, 100]
    starts, ends, steps = [], [], []
    index: list[slice] = [slice(None)] * x.ndim
    for axis in axes:
        start, end = (g.pick([*range(-5, 6), *edges]) for _ in range(2))
        step = g.pick((1, 1, 2, 3, -1, -2, INT64.max, INT64.min))
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
        index[axis] = slice(*_bounds(start, end, step, x.shape[axis]))
    dtype = g.pick((np.int64, np.int64, np.int32))
    bounds = [np.array(v, np.int64) for v in (starts, ends, axes, steps)]
    if dtype == np.int32:
        low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        bounds = [np.clip(v, low, high).astype(np.int32) for v in bounds]
    values: list[Any] = [x, *bounds]
    plain = all(s == 1 for s in steps)
    if plain and g.flag():
        values = values[:4]
        if list(axes) == list(range(len(axes))) and g.flag():
            values = values[:3]
    y = x[tuple(index)]
    return single("Slice", values, opset=13, constant=g.constants(len(values)), want=lambda: [y])


def _bounds(start: int, end: int, step: int, side: int) -> tuple[int | None, int | None, int]:
    """The slice of Python that a step with its bounds is."""
    start = start + side if start < 0 else start
    end = end + side if end < 0 else end
    if step > 0:
        start, end = min(max(start, 0), side), min(max(end, 0), side)
        return start, end, step
    start, end = min(max(start, 0), side - 1), min(max(end, -1), side - 1)
    if side == 0:
        return 0, 0, 1
    return start, None if end < 0 else end, step


def slice_before_inputs(g: Draw) -> Case:
    x = anything(g, "Slice", 1, 1)
    axes = sorted({a % x.ndim for a in g.axes(x.ndim, 1)})
    starts, ends = ([g.pick([*range(-5, 6), 100, INT64.max]) for _ in axes] for _ in range(2))
    index: list[slice] = [slice(None)] * x.ndim
    for axis, start, end in zip(axes, starts, ends, strict=True):
        index[axis] = slice(*_bounds(start, end, 1, x.shape[axis]))
    attributes = {"starts": starts, "ends": ends, "axes": axes}
    y = x[tuple(index)]
    return single("Slice", [x], attributes, opset=9, constant=g.constants(1), want=lambda: [y])


def pad(g: Draw) -> Case:
    opset = g.pick((13, 18, 19, 21))
    modes = (
        ("constant", "reflect", "edge", "wrap") if opset >= 19 else ("constant", "reflect", "edge")
    )
    mode = g.pick(modes)
    empty = mode == "constant"
    x = anything(g, "Pad", opset, 1, empty=empty)
    if x.dtype.kind == "O":
        x = np.where(x == "", "?", x).astype(object)
    axes = g.axes(x.ndim, 1) if opset >= 18 and g.flag() else list(range(x.ndim))
    low = -1 if mode == "constant" else 0
    pads = np.zeros((2, len(axes)), np.int64)
    for i, axis in enumerate(axes):
        side = x.shape[axis]
        most = {"reflect": side - 1, "wrap": side}.get(mode, 2)
        for end in range(2):
            pads[end, i] = g.int(max(low, -(side // 2)), most)
    value = np.array(
        g.values(x.dtype.name if x.dtype.kind != "O" else "string", [1], "small")[0], x.dtype
    )
    values: list[Any] = [x, pads.reshape(-1)]
    named = len(axes) != x.ndim or axes != list(range(x.ndim))
    given = mode == "constant" and g.flag()
    if given or named:
        values.append(value if given else None)
    if named:
        values.append(np.array(axes, g.pick((np.int64, np.int32))))

    def want() -> list[np.ndarray]:
        every = np.zeros((x.ndim, 2), np.int64)
        for i, axis in enumerate(axes):
            every[axis] = pads[:, i]
        kept = tuple(
            slice(max(0, -a), s - max(0, -b)) for (a, b), s in zip(every, x.shape, strict=True)
        )
        grown = [(max(0, int(a)), max(0, int(b))) for a, b in every]
        if mode != "constant":
            return [np.pad(x[kept], grown, mode=mode)]
        fill = value if given else np.array("" if x.dtype.kind == "O" else 0, x.dtype)
        y = np.full(
            [s + a + b for s, (a, b) in zip(x[kept].shape, grown, strict=True)], fill, x.dtype
        )
        y[tuple(slice(a, a + s) for s, (a, _) in zip(x[kept].shape, grown, strict=True))] = x[kept]
        return [y]

    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    attributes = {"mode": mode if mode != "constant" or g.flag() else None}
    return single("Pad", values, attributes, opset=opset, constant=constant, want=want)


def reverse_sequence(g: Draw) -> Case:
    x = anything(g, "ReverseSequence", 10, 2, empty=False)
    batch = g.int(0, 1)
    lengths = g.rng().integers(1, x.shape[1 - batch] + 1, x.shape[batch])
    attributes = {"batch_axis": batch, "time_axis": 1 - batch} if batch == 0 or g.flag() else {}

    def want() -> list[np.ndarray]:
        y = x.copy()
        for i, n in enumerate(lengths):
            if batch == 0:
                y[i, :n] = x[i, :n][::-1]
            else:
                y[:n, i] = x[:n, i][::-1]
        return [y]

    values = [x, lengths.astype(np.int64)]
    return single("ReverseSequence", values, attributes, constant=g.constants(2), want=want)


def depth(g: Draw) -> Case:
    op = g.pick(("DepthToSpace", "SpaceToDepth"))
    dtype = g.dtype(allowed(op, 13))
    n, c, h, w = g.shape(4, 4, side=3)
    b = g.int(1, 3)
    if op == "DepthToSpace":
        x = g.values(dtype, [n, c * b * b, h, w], "small")
        mode = g.pick((None, "DCR", "CRD"))

        def deeper() -> list[np.ndarray]:
            if mode == "CRD":
                y = x.reshape(n, c, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
            else:
                y = x.reshape(n, b, b, c, h, w).transpose(0, 3, 4, 1, 5, 2)
            return [y.reshape(n, c, h * b, w * b)]

        attributes = {"blocksize": b, "mode": mode}
        return single(op, [x], attributes, constant=g.constants(1), want=deeper)
    x = g.values(dtype, [n, c, h * b, w * b], "small")

    def flatter() -> list[np.ndarray]:
        y = x.reshape(n, c, h, b, w, b).transpose(0, 3, 5, 1, 2, 4)
        return [y.reshape(n, c * b * b, h, w)]

    return single(op, [x], {"blocksize": b}, constant=g.constants(1), want=flatter)


def center(g: Draw) -> Case:
    x = anything(g, "CenterCropPad", 18, 1, empty=False)
    if x.dtype.kind == "O":
        x = np.zeros(x.shape, np.float32)
    axes = [a % x.ndim for a in g.axes(x.ndim, 1)] if g.flag() else list(range(x.ndim))
    sides = [g.int(1, 5) for _ in axes]
    default = axes == list(range(x.ndim)) and g.flag()

    def want() -> list[np.ndarray]:
        y = x
        for axis, side in zip(axes, sides, strict=True):
            now = y.shape[axis]
            if side <= now:
                first = (now - side) // 2
                y = np.take(y, range(first, first + side), axis)
            else:
                before = (side - now) // 2
                grown = [(0, 0)] * y.ndim
                grown[axis] = (before, side - now - before)
                y = np.pad(y, grown)
        return [y]

    attributes = {"axes": None if default else axes}
    return single(
        "CenterCropPad", [x, ints(*sides)], attributes, constant=g.constants(2), want=want
    )


def dropout(g: Draw) -> Case:
    """Outside of training nothing is dropped."""
    opset = g.pick((10, 12, 13, 22))
    x = anything(g, "Dropout", opset)
    attributes = {"ratio": 0.25} if opset == 10 else {"seed": 3}
    values: list[Any] = [x]
    if opset > 10 and g.flag():
        values.append(np.array(0.25, np.float32))
        if g.flag():
            values.append(np.array(False))
    mask = np.ones(x.shape, bool)
    outputs = g.int(1, 2)
    return single(
        "Dropout",
        values,
        attributes,
        outputs=outputs,
        opset=opset,
        constant=g.constants(len(values)),
        want=lambda: [x, mask][:outputs],
    )


def triangle(g: Draw) -> Case:
    x = anything(g, "Trilu", 14, 2)
    upper = g.pick((None, 0, 1))
    k = g.pick((None, 0, 1, -1, 3, -3, 100, -100))
    values = [x] if k is None else [x, np.array(k, np.int64)]
    f = np.tril if upper == 0 else np.triu

    def want() -> list[np.ndarray]:
        mask = f(np.ones(x.shape[-2:], bool), k or 0)
        return [
            np.where(mask, x, np.array("" if x.dtype.kind == "O" else 0, x.dtype)).astype(x.dtype)
        ]

    constant = g.constants(len(values))
    return single("Trilu", values, {"upper": upper}, constant=constant, want=want)


def measures(g: Draw) -> Case:
    op = g.pick(("Shape", "Size"))
    opset = g.pick((13, 15, 21))
    x = anything(g, op, opset)
    if op == "Size":
        return single(op, [x], opset=opset, want=lambda: [np.array(x.size, np.int64)])
    if opset == 13:
        return single(op, [x], opset=13, want=lambda: [np.array(x.shape, np.int64)])
    start, end = (g.pick((None, *range(-6, 7))) for _ in range(2))
    y = np.array(x.shape[_clamped(start, x.ndim) : _clamped(end, x.ndim)], np.int64)
    return single(op, [x], {"start": start, "end": end}, opset=opset, want=lambda: [y])


def _clamped(bound: int | None, rank: int) -> int | None:
    if bound is None:
        return None
    return min(max(bound + rank if bound < 0 else bound, 0), rank)


def generated(g: Draw) -> Case:
    op = g.pick(("EyeLike", "Range", "ConstantOfShape"))
    if op == "EyeLike":
        dtype = g.dtype(allowed(op, 9))
        x = g.values(dtype, g.shape(2, 2), "small")
        k, target = g.pick((None, 0, 1, -1, 9, -9)), g.pick((None, "int64", "float64", "bool"))
        to = None if target is None else int(helper.np_dtype_to_tensor_dtype(np.dtype(target)))
        y = np.eye(*x.shape, k=k or 0).astype(target or x.dtype)
        return single(op, [x], {"k": k, "dtype": to}, constant=g.constants(1), want=lambda: [y])
    if op == "Range":
        dtype = g.dtype(allowed(op, 11))
        start, limit = (g.values(dtype, [], "small") for _ in range(2))
        step = g.values(dtype, [], "positive")
        if g.flag():
            step = -step
        first, last, by = (float(v) for v in (start, limit, step))
        count = max(0, int(np.ceil((last - first) / by)))
        y = (first + by * np.arange(count)).astype(dtype_of(dtype))
        return single(op, [start, limit, step], constant=g.constants(3), want=lambda: [y])
    shape = g.shape()
    dtype = g.pick(("float16", "float32", "float64", "int8", "int64", "uint8", "bool"))
    value = g.values(dtype, [1], "small")
    attributes = {} if g.int(0, 3) == 0 else {"value": numpy_helper.from_array(value)}
    y = np.full(shape, value[0]) if attributes else np.zeros(shape, np.float32)
    return single(op, [ints(*shape)], attributes, constant=g.constants(1), want=lambda: [y])


def test_shapes() -> None:
    hold(reshape, transpose, squeeze, unsqueeze, flatten, expand, measures, examples=30)


def test_pieces() -> None:
    hold(tile, concat, split, slice_, slice_, slice_before_inputs, pad, pad, examples=30)


def test_rearrangement() -> None:
    hold(reverse_sequence, depth, center, triangle, generated, dropout, examples=20)
