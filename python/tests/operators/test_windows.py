"""Convolutions and pooling, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold


def auto_pad(g: Draw, names: tuple[str, ...] = ("SAME_UPPER", "SAME_LOWER", "VALID")) -> str | None:
    """A mode of padding by itself, or explicit pads."""
    return str(g.pick(names)) if g.int(0, 3) == 0 else g.pick((None, None, "NOTSET"))


def numbers(g: Draw, count: int, low: int, high: int) -> list[int]:
    return [int(n) for n in g.rng().integers(low, high + 1, count)]


def geometry(g: Draw, rank: int, *, dilated: bool = True) -> dict[str, Any]:
    """Strides, dilations and pads, each of them there or left out."""
    mode = auto_pad(g)
    attributes: dict[str, Any] = {"auto_pad": mode}
    if g.flag():
        attributes["strides"] = numbers(g, rank, 1, 3)
    if dilated and g.int(0, 2) == 0 and mode in (None, "NOTSET", "VALID"):
        attributes["dilations"] = numbers(g, rank, 1, 2)
    if mode in (None, "NOTSET") and g.flag():
        attributes["pads"] = numbers(g, 2 * rank, 0, 1)
    return attributes


def wide(dtype: str) -> bool:
    """Whether onnxruntime has no such convolution or window and computes it in float32."""
    return dtype != "float32"


def conv(g: Draw) -> Case:
    opset = g.pick((11, 22))
    dtype = g.dtype(allowed("Conv", opset))
    rank, group = g.int(1, 3), g.pick((1, 1, 2, 3))
    depth, width = group * g.int(1, 2), group * g.int(1, 2)
    kernel = numbers(g, rank, 1, 3)
    batch = 0 if g.int(0, 12) == 0 else g.int(1, 2)
    x = g.values(dtype, [batch, depth, *numbers(g, rank, 5, 8)], g.pick(("small", "normal")))
    w = g.values(dtype, [width, depth // group, *kernel], "small")
    b = g.values(dtype, [width], "small")
    attributes = geometry(g, rank)
    attributes["group"] = group if group > 1 or g.flag() else None
    attributes["kernel_shape"] = kernel if g.flag() else None
    values = [x, w, b] if g.flag() else [x, w]
    constant = g.constants(len(values))
    return single(
        "Conv", values, attributes, opset=opset, constant=constant, wide=wide(dtype), loose=10
    )


def conv_transpose(g: Draw) -> Case:
    opset = g.pick((11, 22))
    dtype = g.dtype(allowed("ConvTranspose", opset))
    rank, group = g.int(1, 3), g.pick((1, 1, 2, 3))
    depth, width = group * g.int(1, 2), g.int(1, 2)
    kernel = numbers(g, rank, 1, 3)
    spatial = numbers(g, rank, 2, 4)
    x = g.values(dtype, [g.int(1, 2), depth, *spatial], g.pick(("small", "normal")))
    w = g.values(dtype, [depth, width, *kernel], "small")
    b = g.values(dtype, [width * group], "small")
    strides = numbers(g, rank, 1, 3)
    dilations = numbers(g, rank, 1, 2) if g.int(0, 2) == 0 else [1] * rank
    attributes: dict[str, Any] = {
        "strides": strides if strides != [1] * rank or g.flag() else None,
        "dilations": dilations if dilations != [1] * rank else None,
        "group": group if group > 1 or g.flag() else None,
        "kernel_shape": kernel if g.flag() else None,
    }
    way = g.int(0, 4)
    if way == 0:
        attributes["auto_pad"] = g.pick(("VALID", "NOTSET"))
    elif way == 1:
        # What the pads would be for nothing is lost, and up to one more or fewer.
        full = [
            (s - 1) * t + (k - 1) * d + 1
            for s, t, k, d in zip(spatial, strides, kernel, dilations, strict=True)
        ]
        attributes["output_shape"] = [
            max(1, f - n) for f, n in zip(full, numbers(g, rank, 0, 2), strict=True)
        ]
        attributes["auto_pad"] = g.pick((None, "SAME_UPPER", "SAME_LOWER"))
    elif way > 2:
        attributes["pads"] = numbers(g, 2 * rank, 0, 1)
    if way != 1 and g.flag():
        # Less than the stride or the dilation.
        most = [max(s, d) - 1 for s, d in zip(strides, dilations, strict=True)]
        attributes["output_padding"] = [g.int(0, m) for m in most]
    values = [x, w, b] if g.flag() else [x, w]
    constant = g.constants(len(values))
    return single(
        "ConvTranspose",
        values,
        attributes,
        opset=opset,
        constant=constant,
        wide=wide(dtype),
        loose=10,
    )


def max_pool(g: Draw) -> Case:
    opset = g.pick((8, 11, 12, 22))
    dtype = g.dtype(allowed("MaxPool", opset))
    rank = g.int(1, 3)
    # No NaN: which of them is the greatest, the specification does not say.
    x = g.values(dtype, [g.int(1, 2), g.int(1, 2), *numbers(g, rank, 4, 7)], "small")
    attributes = geometry(g, rank, dilated=opset >= 10)
    attributes["kernel_shape"] = numbers(g, rank, 2, 3)
    attributes["storage_order"] = g.pick((None, None, 0, 1))
    if opset >= 10:
        attributes["ceil_mode"] = g.pick((None, 0, 1))
    outputs = g.int(1, 2)
    constant = g.constants(1)
    return single(
        "MaxPool",
        [x],
        attributes,
        outputs=outputs,
        opset=opset,
        constant=constant,
        wide=wide(dtype) and "float" in dtype,
    )


def mean_pool(g: Draw) -> Case:
    opset = g.pick((7, 11, 19, 22))
    dtype = g.dtype(allowed("AveragePool", opset))
    rank = g.int(1, 3)
    x = g.values(dtype, [g.int(1, 2), g.int(1, 2), *numbers(g, rank, 4, 7)], "small")
    attributes = geometry(g, rank, dilated=opset >= 19)
    attributes["kernel_shape"] = numbers(g, rank, 2, 3)
    attributes["count_include_pad"] = g.pick((None, 0, 1))
    if opset >= 10:
        attributes["ceil_mode"] = g.pick((None, 0, 1))
    return single(
        "AveragePool", [x], attributes, opset=opset, constant=g.constants(1), wide=wide(dtype)
    )


def norm_pool(g: Draw) -> Case:
    opset = g.pick((11, 18, 22))
    dtype = g.dtype(allowed("LpPool", opset))
    rank = g.int(1, 3)
    x = g.values(dtype, [g.int(1, 2), g.int(1, 2), *numbers(g, rank, 4, 7)], "small")
    attributes = geometry(g, rank, dilated=opset >= 18)
    attributes["kernel_shape"] = numbers(g, rank, 2, 3)
    attributes["p"] = g.pick((None, 1, 2, 3))
    if opset >= 18:
        attributes["ceil_mode"] = g.pick((None, 0, 1))
    return single("LpPool", [x], attributes, opset=opset, constant=g.constants(1), wide=wide(dtype))


def global_pool(g: Draw) -> Case:
    op = g.pick(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"))
    opset = g.pick((13, 22))
    dtype = g.dtype(allowed(op, opset))
    x = g.values(dtype, [g.int(0, 2), g.int(1, 3), *numbers(g, g.int(1, 3), 1, 5)], "small")
    p = g.pick((None, 1, 2, 3)) if op == "GlobalLpPool" else None

    def want() -> list[np.ndarray]:
        wide, axes = x.astype(np.float64), tuple(range(2, x.ndim))
        if op == "GlobalAveragePool":
            y = wide.mean(axes, keepdims=True)
        elif op == "GlobalMaxPool":
            y = wide.max(axes, keepdims=True)
        else:
            y = (np.abs(wide) ** (p or 2)).sum(axes, keepdims=True) ** (1 / (p or 2))
        return [y.astype(x.dtype)]

    return single(op, [x], {"p": p}, opset=opset, constant=g.constants(1), want=want)


def unpool(g: Draw) -> Case:
    opset = g.pick((9, 11))
    sides = numbers(g, 2, 2, 3)
    shape = [g.int(1, 2), g.int(1, 2), *sides]
    plane = 4 * sides[0] * sides[1]
    rng = g.rng()
    indices = np.stack(
        [
            np.sort(rng.permutation(plane)[: sides[0] * sides[1]]) + plane * channel
            for channel in range(shape[0] * shape[1])
        ]
    ).reshape(shape)
    x = g.values("float32", shape, "small")
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    values = [x, indices.astype(np.int64)]
    if g.flag():
        values.append(np.array([shape[0], shape[1], sides[0] * 2, sides[1] * 2], np.int64))
    return single("MaxUnpool", values, attributes, opset=opset, constant=g.constants(len(values)))


def test_convolution() -> None:
    hold(conv)


def test_transposed_convolution() -> None:
    hold(conv_transpose)


def test_pooling() -> None:
    hold(max_pool, mean_pool, norm_pool, global_pool, unpool, examples=25)
