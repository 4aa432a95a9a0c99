"""Quantised operators, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, hold
from .test_windows import geometry, numbers

BYTES = ("uint8", "int8")


def step(g: Draw, shape: list[int]) -> np.ndarray:
    """Powers of two: what is divided by them lies halfway between numbers where it looks so."""
    return np.asarray(2.0 ** g.rng().integers(-3, 2, shape)).astype(np.float32)


def zero(g: Draw, dtype: str, shape: list[int]) -> np.ndarray:
    return g.values(dtype, shape, "normal" if dtype == "int8" else "small")


def quantize(g: Draw) -> Case:
    opset = g.pick((10, 13, 19, 21))
    dtype = g.pick(BYTES if opset < 21 else (*BYTES, "uint16", "int16"))
    x = g.values("float32", g.shape(1), g.pick(("small", "normal", "special")))
    # What is no number has no nearest one.
    x = np.nan_to_num(x * 30, nan=0.0, posinf=np.inf, neginf=-np.inf).astype(np.float32)
    axis = g.axis(x.ndim) if opset > 10 and g.flag() else None
    shape = [] if axis is None else [x.shape[axis]]
    scale, at = step(g, shape), zero(g, dtype, shape)
    column = [1] * x.ndim
    if axis is not None:
        column[axis] = -1
    without = dtype == "uint8" and g.flag()
    values = [x, scale] if without else [x, scale, at]

    def want() -> list[np.ndarray]:
        spread = scale.reshape(column) if axis is not None else scale
        offset = np.zeros((), np.int64) if without else at.astype(np.int64)
        offset = offset.reshape(column) if axis is not None and not without else offset
        about = np.iinfo(dtype)
        y = np.rint(x.astype(np.float64) / spread) + offset
        return [np.clip(y, about.min, about.max).astype(dtype)]

    constant = g.constants(len(values))
    attributes = {"axis": axis}
    return single("QuantizeLinear", values, attributes, opset=opset, constant=constant, want=want)


def dequantize(g: Draw) -> Case:
    opset = g.pick((10, 13, 19, 21))
    dtype = g.pick((*BYTES, "int32") if opset < 21 else (*BYTES, "int32", "uint16", "int16"))
    x = g.values(dtype, g.shape(1), "normal")
    axis = g.axis(x.ndim) if opset > 10 and g.flag() else None
    shape = [] if axis is None else [x.shape[axis]]
    scale = step(g, shape)
    # There is no zero point of an int32.
    at = np.zeros(shape, dtype) if dtype == "int32" else zero(g, dtype, shape)
    values = [x, scale, at] if g.flag() and dtype != "int32" else [x, scale]
    column = [1] * x.ndim
    if axis is not None:
        column[axis] = -1

    def want() -> list[np.ndarray]:
        place = (lambda v: v.reshape(column)) if axis is not None else (lambda v: v)
        offset = place(at.astype(np.int64)) if len(values) == 3 else 0
        return [((x.astype(np.int64) - offset) * place(scale)).astype(np.float32)]

    constant = g.constants(len(values))
    attributes = {"axis": axis}
    return single("DequantizeLinear", values, attributes, opset=opset, constant=constant, want=want)


def dynamic(g: Draw) -> Case:
    x = g.values("float32", g.shape(1, empty=False), g.pick(("small", "normal")))
    # All zero: a step of zero, and what is divided by it.
    x.flat[0] = 3.0
    return single("DynamicQuantizeLinear", [x], outputs=3, constant=g.constants(1))


def matmul(g: Draw) -> Case:
    left, right = g.pick(BYTES), g.pick(BYTES)
    m, k, n = g.shape(3, 3, empty=False)
    batch = g.shape(0, 1, empty=False)
    a = g.values(left, [*batch, m, k], "normal")
    b = g.values(right, g.pick(([k, n], [*batch, k, n])), "normal")
    values: list[Any] = [a, b]
    if g.flag():
        # One for the whole, or one for each row of the first and each column of the second.
        values.append(zero(g, left, []))
        if g.flag():
            values.append(zero(g, right, []))

    def want() -> list[np.ndarray]:
        offsets = [v.astype(np.int64) for v in values[2:]] + [np.int64(0)] * 2
        y = np.matmul(a.astype(np.int64) - offsets[0], b.astype(np.int64) - offsets[1])
        return [y.astype(np.int32)]

    return single("MatMulInteger", values, constant=g.constants(len(values)), want=want)


def convolution(g: Draw) -> Case:
    rank = g.int(1, 2)
    depth, width = g.int(1, 2), g.int(1, 2)
    kernel = numbers(g, rank, 1, 3)
    x = g.values("uint8", [g.int(1, 2), depth, *numbers(g, rank, 5, 7)], "normal")
    w = g.values("uint8", [width, depth, *kernel], "normal")
    values: list[Any] = [x, w]
    if g.flag():
        values.append(zero(g, "uint8", []))
        if g.flag():
            values.append(zero(g, "uint8", []))
    attributes = geometry(g, rank)
    return single("ConvInteger", values, attributes, constant=g.constants(len(values)))


def quantized_matmul(g: Draw) -> Case:
    """By onnxruntime in whole numbers with a rounded factor: off by one where it is halfway."""
    m, k, n = g.shape(3, 3, empty=False)
    dtype = g.pick(BYTES)
    a, b = g.values(dtype, [m, k], "small"), g.values(dtype, [k, n], "small")
    scales = [step(g, []) for _ in range(3)]
    zeros = [zero(g, dtype, []) for _ in range(3)]
    values = [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]]

    def want() -> list[np.ndarray]:
        left, right = ((v.astype(np.float64) - z) for v, z in ((a, zeros[0]), (b, zeros[1])))
        y = np.rint(left @ right * (float(scales[0]) * scales[1] / scales[2])) + zeros[2]
        about = np.iinfo(dtype)
        return [np.clip(y, about.min, about.max).astype(dtype)]

    return single(
        "QLinearMatMul", values, opset=g.pick((10, 21)), constant=g.constants(8), want=want
    )


def quantized_convolution(g: Draw) -> Case:
    depth, width = g.int(1, 2), g.int(1, 3)
    x = g.values("uint8", [1, depth, *numbers(g, 2, 4, 6)], "small")
    each = g.flag()
    w = g.values(g.pick(BYTES), [width, depth, 2, 2], "small")
    scales = step(g, [width] if each else [])
    at = np.zeros([width] if each else [], w.dtype)
    values: list[Any] = [
        *(x, step(g, []), zero(g, "uint8", []), w, scales, at),
        *(step(g, []), zero(g, "uint8", [])),
    ]
    if g.flag():
        values.append(g.values("int32", [width], "small"))
    attributes = geometry(g, 2)
    return single("QLinearConv", values, attributes, constant=g.constants(len(values)))


def test_quantization() -> None:
    hold(quantize, dequantize, dynamic, examples=15)


def test_quantized_products() -> None:
    hold(matmul, convolution, quantized_matmul, quantized_convolution, examples=15)
