"""Operators of com.microsoft that optimisers write into files, against onnxruntime and NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, hold
from .test_unary import erf

DOMAIN = "com.microsoft"


def microsoft(op: str, values: Any, attributes: Any = None, **case: Any) -> Case:
    return single(op, values, attributes, domain=DOMAIN, **case)


def fused_matmul(g: Draw) -> Case:
    rows, inner, columns = g.shape(3, 3, empty=False)
    batch = g.shape(0, 2, empty=False)
    trans_a, trans_b = g.flag(), g.flag()
    a = [*batch, inner, rows] if trans_a else [*batch, rows, inner]
    b = [*batch, columns, inner] if trans_b else [*batch, inner, columns]
    x, y = (g.values("float32", s, g.pick(("small", "normal"))) for s in (a, b))
    attributes = {
        "alpha": g.pick((None, 0.5, -2.0)),
        "transA": int(trans_a) if trans_a or g.flag() else None,
        "transB": int(trans_b) if trans_b or g.flag() else None,
    }
    return microsoft("FusedMatMul", [x, y], attributes, constant=g.constants(2))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def _fast_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(g: Draw) -> Case:
    op = g.pick(("Gelu", "BiasGelu", "FastGelu", "QuickGelu"))
    x = g.values("float32", g.shape(1, empty=False), g.pick(("small", "normal")))
    wide = x.astype(np.float64)
    if op == "QuickGelu":
        alpha = g.pick((None, 1.0, 0.5))
        y = wide / (1 + np.exp(-(1.702 if alpha is None else alpha) * wide))
        want = lambda: [y.astype(np.float32)]  # noqa: E731
        return microsoft(op, [x], {"alpha": alpha}, constant=g.constants(1), want=want)
    values = [x]
    if op == "BiasGelu" or (op == "FastGelu" and g.flag()):
        values.append(g.values("float32", [x.shape[-1]], "small"))
        wide = wide + values[1]
    formula = _fast_gelu if op == "FastGelu" else _gelu
    constant = g.constants(len(values))
    return microsoft(op, values, constant=constant, want=lambda: [formula(wide).astype(np.float32)])


def skip(g: Draw) -> Case:
    shape = g.shape(3, 3, empty=False)
    x, other = (g.values("float32", shape, g.pick(("small", "normal"))) for _ in range(2))
    width = [shape[-1]]
    values: list[Any] = [x, other, g.values("float32", width, "small")]
    beta = g.values("float32", width, "small") if g.flag() else None
    bias = g.values("float32", width, "small") if g.flag() else None
    values += [beta, bias]
    while values[-1] is None:
        values.pop()
    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    return microsoft(
        "SkipLayerNormalization",
        values,
        {"epsilon": g.pick((1e-5, 1e-2))},
        outputs=g.pick(([True], [True, False, False, True])),
        constant=constant,
        loose=50,
    )


def simplified(g: Draw) -> Case:
    """An operator of onnxruntime in the domain of ONNX."""
    x = g.values("float32", g.shape(1, 3, empty=False), g.pick(("small", "normal")))
    scale = g.values("float32", [x.shape[-1]], "small")
    epsilon = g.pick((1e-5, 1e-2))
    mean = (x.astype(np.float64) ** 2).mean(-1, keepdims=True)
    y = (x / np.sqrt(mean + epsilon) * scale).astype(np.float32)
    attributes = {"axis": -1, "epsilon": epsilon}
    constant = g.constants(2)
    return single(
        "SimplifiedLayerNormalization",
        [x, scale],
        attributes,
        constant=constant,
        want=lambda: [y],
        loose=4,
    )


def fused_conv(g: Draw) -> Case:
    name = g.pick(("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Clip"))
    params = {"LeakyRelu": [0.25], "HardSigmoid": [0.25, 0.5], "Clip": [-1.0, 2.0]}.get(name)
    depth, width = g.int(1, 2), g.int(1, 3)
    x = g.values("float32", [g.int(1, 2), depth, 5, 6], "small")
    w = g.values("float32", [width, depth, 2, 3], "small")
    values = [x, w, g.values("float32", [width], "small")] if g.flag() else [x, w]
    attributes = {"activation": name, "activation_params": params, "pads": [g.int(0, 1)] * 4}
    return microsoft("FusedConv", values, attributes, constant=g.constants(len(values)))


def experimental(g: Draw) -> Case:
    """What ONNX had before opset 10 without having it."""
    op = g.pick(("Affine", "Scale", "ScaledTanh", "ParametricSoftplus", "ImageScaler", "Crop"))
    x = g.values("float32", [g.int(1, 2), g.int(1, 3), 4, 5], "small")
    attributes: dict[str, Any] = {"alpha": 0.5, "beta": g.pick((-1.5, 2.0))}
    if op == "Scale":
        attributes = {"scale": g.pick((None, 2.0))}
    elif op == "ImageScaler":
        bias = [float(i) for i in range(x.shape[1])]
        attributes = {"scale": g.pick((None, 2.0)), "bias": bias}
    elif op == "Crop":
        attributes = {"border": [g.int(0, 2), g.int(0, 1), 1, 1], "scale": g.pick((None, [2, 3]))}
    return single(op, [x], attributes, opset=9, loose=4)


def test_contrib() -> None:
    hold(fused_matmul, gelu, skip, simplified, fused_conv, experimental, examples=15)
