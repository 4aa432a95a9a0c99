"""Normalisation and the softmax family, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold

#: The usual one; an attribute is of single precision, whatever the numbers are.
EPSILON = float(np.float32(1e-5))


def image(g: Draw, dtype: str, channels: int, low: int = 0, high: int = 3) -> np.ndarray:
    spatial = g.shape(low, high, empty=False)
    return g.values(dtype, [g.int(1, 2), channels, *spatial], g.pick(("small", "normal")))


def batch(g: Draw) -> Case:
    opset = g.pick((9, 14, 15))
    dtype = g.dtype(allowed("BatchNormalization", opset))
    channels = g.int(1, 4)
    x = image(g, dtype, channels)
    more = [g.values(dtype, [channels], "small") for _ in range(3)]
    variance = g.values(dtype, [channels], "positive")
    attributes: dict[str, Any] = {"epsilon": g.pick((None, 1e-5, 1e-2))}
    return single(
        "BatchNormalization",
        [x, *more, variance],
        attributes,
        opset=opset,
        constant=g.constants(5),
        wide=dtype != "float32",
        loose=4,
    )


def trained_batch(g: Draw) -> Case:
    """Training mode: the mean and variance of the batch, and running ones."""
    dtype = g.dtype(allowed("BatchNormalization", 15))
    channels = g.int(1, 3)
    x = image(g, dtype, channels, low=1)
    scale, bias, mean = (g.values(dtype, [channels], "small") for _ in range(3))
    variance = g.values(dtype, [channels], "positive")
    momentum, epsilon = g.pick((None, 0.5)), g.pick((None, 0.25))
    axes = (0, *range(2, x.ndim))
    column = (1, -1, *([1] * (x.ndim - 2)))

    def want() -> list[np.ndarray]:
        wide, old, spread = (v.astype(np.float64) for v in (x, mean, variance))
        found, kept = wide.mean(axes), float(np.float32(0.9)) if momentum is None else momentum
        var = wide.var(axes)
        root = np.sqrt(var + (EPSILON if epsilon is None else float(np.float32(epsilon))))
        y = (wide - found.reshape(column)) / root.reshape(column)
        y = y * scale.astype(np.float64).reshape(column) + bias.astype(np.float64).reshape(column)
        running = [old * kept + found * (1 - kept), spread * kept + var * (1 - kept)]
        return [v.astype(x.dtype) for v in (y, *running)]

    attributes = {"training_mode": 1, "momentum": momentum, "epsilon": epsilon}
    return single(
        "BatchNormalization",
        [x, scale, bias, mean, variance],
        attributes,
        outputs=3,
        opset=15,
        constant=g.constants(5),
        want=want,
        # The quotient of a deviation and a small root enlarges what the mean has been rounded by.
        loose=50,
    )


def instance(g: Draw) -> Case:
    opset = g.pick((6, 22))
    dtype = g.dtype(allowed("InstanceNormalization", opset))
    channels = g.int(1, 4)
    x = image(g, dtype, channels, low=1)
    scale, bias = (g.values(dtype, [channels], "small") for _ in range(2))
    return single(
        "InstanceNormalization",
        [x, scale, bias],
        {"epsilon": g.pick((None, 1e-2))},
        opset=opset,
        constant=g.constants(3),
        wide=dtype != "float32",
        loose=50,
    )


def layer(g: Draw) -> Case:
    dtype = g.dtype(allowed("LayerNormalization", 17))
    x = g.values(dtype, g.shape(1, 4, empty=False), g.pick(("small", "normal")))
    axis = g.axis(x.ndim)
    scale = g.values(dtype, g.narrower(x.shape[axis % x.ndim :], 1), "small")
    scale = np.ones(x.shape[axis % x.ndim :], scale.dtype) * scale
    values = [x, scale.astype(x.dtype)]
    if g.flag():
        values.append(g.values(dtype, scale.shape, "small"))
    return single(
        "LayerNormalization",
        values,
        {"axis": axis if axis != -1 or g.flag() else None, "epsilon": g.pick((None, 1e-2))},
        outputs=g.pick((1, 1, 2, 3)),
        constant=g.constants(len(values)),
        wide=dtype != "float32",
        loose=50,
    )


def root_mean_square(g: Draw) -> Case:
    dtype = g.dtype(allowed("RMSNormalization", 23))
    x = g.values(dtype, g.shape(1, 4, empty=False), g.pick(("small", "normal")))
    axis = g.axis(x.ndim)
    scale = g.values(dtype, x.shape[axis % x.ndim :], "small")
    epsilon = g.pick((None, 1e-2))

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        axes = tuple(range(axis % x.ndim, x.ndim))
        mean = np.mean(wide * wide, axes, keepdims=True)
        root = np.sqrt(mean + (EPSILON if epsilon is None else float(np.float32(epsilon))))
        return [(wide / root * scale.astype(np.float64)).astype(x.dtype)]

    return single(
        "RMSNormalization",
        [x, scale],
        {"axis": axis if axis != -1 or g.flag() else None, "epsilon": epsilon},
        opset=23,
        constant=g.constants(2),
        want=want,
        loose=4,
    )


def group(g: Draw) -> Case:
    """By groups of channels; opset 18 has a scale for each group, 21 for each channel."""
    opset = g.pick((18, 21))
    dtype = g.dtype(allowed("GroupNormalization", opset))
    groups, each = g.int(1, 3), g.int(1, 2)
    x = image(g, dtype, groups * each, low=1)
    size = groups if opset == 18 else groups * each
    scale, bias = (g.values(dtype, [size], "small") for _ in range(2))
    epsilon = g.pick((None, 1e-2))

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64).reshape(x.shape[0], groups, -1)
        mean, var = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
        y = (
            (wide - mean)
            / np.sqrt(var + (EPSILON if epsilon is None else float(np.float32(epsilon))))
        ).reshape(x.shape)
        column = (1, -1, *([1] * (x.ndim - 2)))
        factors = [v.astype(np.float64) for v in (scale, bias)]
        if opset == 18:
            factors = [np.repeat(v, each) for v in factors]
        return [(y * factors[0].reshape(column) + factors[1].reshape(column)).astype(x.dtype)]

    return single(
        "GroupNormalization",
        [x, scale, bias],
        {"num_groups": groups, "epsilon": epsilon},
        opset=opset,
        constant=g.constants(3),
        want=want,
        loose=50,
    )


def local_response(g: Draw) -> Case:
    dtype = g.dtype(allowed("LRN", 13))
    x = image(g, dtype, g.int(1, 6), low=2, high=2)
    attributes = {
        "size": g.int(1, 5),
        "alpha": g.pick((None, 0.1)),
        "beta": g.pick((None, 0.5)),
        "bias": g.pick((None, 2.0)),
    }
    # onnxruntime refuses an even size.
    attributes["size"] |= 1
    return single("LRN", [x], attributes, constant=g.constants(1), wide=dtype != "float32", loose=2)


def norm(g: Draw) -> Case:
    """Nothing divided by nothing: left out, as the versions of the operator differ in it."""
    opset = g.pick((1, 22))
    dtype = g.dtype(allowed("LpNormalization", opset))
    x = g.values(dtype, g.shape(1, empty=False), "positive")
    axis, p = g.axis(x.ndim), g.pick((None, 1, 2))

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        length = np.linalg.norm(wide, ord=p or 2, axis=axis, keepdims=True)
        return [(wide / length).astype(x.dtype)]

    attributes = {"axis": axis if axis != -1 or g.flag() else None, "p": p}
    return single("LpNormalization", [x], attributes, opset=max(opset, 7), want=want)


def mean_variance(g: Draw) -> Case:
    dtype = g.dtype(allowed("MeanVarianceNormalization", 13))
    x = image(g, dtype, g.int(1, 3), low=2, high=2)
    axes = g.axes(4, 1) if g.flag() else None

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        over = (0, 2, 3) if axes is None else tuple(axes)
        mean = wide.mean(over, keepdims=True)
        spread = np.sqrt((wide**2).mean(over, keepdims=True) - mean**2)
        return [((wide - mean) / (spread + 1e-9)).astype(x.dtype)]

    spread = x.astype(np.float64).std(tuple(axes) if axes else (0, 2, 3))
    return single(
        "MeanVarianceNormalization",
        [x],
        {"axes": axes},
        constant=g.constants(1),
        want=want,
        # By no deviation at all: what rounding makes of it is divided by 1e-9.
        judged=bool((spread > 0.1).all()),
        loose=50,
    )


def softmax(g: Draw) -> Case:
    op = g.pick(("Softmax", "LogSoftmax", "Hardmax"))
    opset = g.pick((9, 11, 13))
    dtype = g.dtype(allowed(op, opset))
    kind = g.pick(("small", "normal", "special")) if op != "Hardmax" else "small"
    x = g.values(dtype, g.shape(1), kind)
    # Before opset 11 an axis is counted from the front.
    axis = g.axis(x.ndim) if opset > 9 else g.int(0, x.ndim - 1)
    usual = -1 if opset == 13 else 1
    given = axis if axis != usual or g.flag() else None

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        if opset < 13:
            # Everything from the axis on is one.
            front = int(np.prod(x.shape[: axis % x.ndim]))
            wide = wide.reshape(front, int(np.prod(x.shape[axis % x.ndim :])))
        over = axis if opset == 13 else -1
        if not x.size:
            return [x]
        if op == "Hardmax":
            y = np.zeros_like(wide)
            np.put_along_axis(y, np.argmax(wide, over, keepdims=True), 1.0, over)
        else:
            moved = wide - wide.max(over, keepdims=True)
            total = np.exp(moved).sum(over, keepdims=True)
            y = moved - np.log(total) if op == "LogSoftmax" else np.exp(moved) / total
        return [y.reshape(x.shape).astype(x.dtype)]

    constant = g.constants(1)
    return single(op, [x], {"axis": given}, opset=opset, constant=constant, want=want)


def test_normalization() -> None:
    hold(
        *(batch, trained_batch, instance, layer, root_mean_square, group),
        *(local_response, norm, mean_variance),
        examples=30,
    )


def test_softmax() -> None:
    hold(softmax, examples=15)
