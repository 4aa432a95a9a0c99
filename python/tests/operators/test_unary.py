"""Functions of one number, activations and casts, against NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, dtype_of, hold, is_float, limits

erf = np.vectorize(math.erf, otypes=[np.float64])

EXACT: dict[str, Callable[[Any], Any]] = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Sign": np.sign,
    "Ceil": np.ceil,
    "Floor": np.floor,
    "Round": np.rint,
    "Identity": lambda x: x,
}
REAL: dict[str, Callable[[Any], Any]] = {
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Erf": erf,
    "Sigmoid": lambda x: np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))),
    "Softplus": lambda x: np.logaddexp(0, x),
}


def doubled(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """`f` of floats in double precision, rounded at the end."""
    return np.asarray(f(x.astype(np.float64))).astype(x.dtype)


def exact(g: Draw) -> Case:
    op = g.pick(list(EXACT))
    opset = g.pick((13, 21))
    dtype = g.dtype([d for d in allowed(op, opset) if d not in ("string", "bool")])
    x = g.values(dtype, g.shape())
    f = EXACT[op]

    def want() -> list[np.ndarray]:
        return [doubled(f, x) if is_float(dtype) else np.asarray(f(x)).astype(x.dtype)]

    return single(op, [x], opset=opset, constant=g.constants(1), want=want, loose=0)


def real(g: Draw) -> Case:
    op = g.pick(list(REAL))
    opset = g.pick((13, 22))
    dtype = g.dtype(allowed(op, opset), "float")
    x = g.values(dtype, g.shape(), g.pick(("small", "normal", "special")))
    return single(
        op, [x], opset=opset, constant=g.constants(1), want=lambda: [doubled(REAL[op], x)]
    )


def at_the_limits(g: Draw) -> Case:
    """The least and greatest numbers of a type."""
    op = g.pick(("Sqrt", "Exp", "Log", "Atan", "Tanh", "Sigmoid", "Erf", "Asinh", "Sinh", "Cosh"))
    x = g.values(g.dtype(allowed(op, 22), "float"), g.shape(), "corners")
    return single(op, [x], opset=22, constant=g.constants(1), want=lambda: [doubled(REAL[op], x)])


def _selu(x: Any, alpha: float, gamma: float) -> Any:
    return gamma * np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


#: By operator: version, defaults of the attributes, formula, kind of values. Where the formula is
#: infinity times zero, or infinity by infinity, infinities are kept out: implementations differ,
#: and the specification does not say.
ACTIVATIONS: dict[str, tuple[int, dict[str, Any], Callable[..., Any], str]] = {
    "LeakyRelu": (16, {"alpha": 0.01}, lambda x, alpha: np.where(x < 0, alpha * x, x), "special"),
    "Elu": (
        6,
        {"alpha": 1.0},
        lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        "special",
    ),
    "Selu": (6, {"alpha": 1.6732632, "gamma": 1.0507010}, _selu, "special"),
    "Celu": (
        12,
        {"alpha": 1.0},
        lambda x, alpha: np.maximum(0, x) + np.minimum(0, alpha * np.expm1(x / alpha)),
        "special",
    ),
    "ThresholdedRelu": (
        10,
        {"alpha": 1.0},
        lambda x, alpha: np.where(x > alpha, x, 0),
        "special",
    ),
    "HardSigmoid": (
        6,
        {"alpha": 0.2, "beta": 0.5},
        lambda x, alpha, beta: np.maximum(0, np.minimum(1, alpha * x + beta)),
        "special",
    ),
    "HardSwish": (14, {}, lambda x: x * np.maximum(0, np.minimum(1, x / 6 + 0.5)), "finite"),
    "Softsign": (1, {}, lambda x: x / (1 + np.abs(x)), "finite"),
    "Gelu": (20, {"approximate": "none"}, _gelu, "finite"),
    "Mish": (18, {}, lambda x: x * np.tanh(np.logaddexp(0, x)), "finite"),
    "Swish": (24, {"alpha": 1.0}, lambda x, alpha: x / (1 + np.exp(-alpha * x)), "finite"),
    "Shrink": (
        9,
        {"bias": 0.0, "lambd": 0.5},
        lambda x, bias, lambd: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)),
        "special",
    ),
}


def activation(g: Draw) -> Case:
    op = g.pick(list(ACTIVATIONS))
    since, defaults, formula, kind = ACTIVATIONS[op]
    opset = g.pick((max(since, 13), max(since, 22)))
    dtype = g.dtype(allowed(op, opset), "float")
    x = g.values(dtype, g.shape(), g.pick((kind, "normal")))
    given: dict[str, Any] = {}
    for name, usual in defaults.items():
        if g.flag():
            other = "tanh" if name == "approximate" else g.pick((0.25, 0.5, 1.5, 2.0))
            given[name] = g.pick((usual, other))
    # An attribute is of single precision, whatever the numbers are.
    settings = {
        k: v if isinstance(v, str) else float(np.float32(v))
        for k, v in {**defaults, **given}.items()
    }
    return single(
        op,
        [x],
        given,
        opset=opset,
        constant=g.constants(1),
        want=lambda: [doubled(lambda v: formula(v, **settings), x)],
    )


def shrunk_integers(g: Draw) -> Case:
    dtype = g.pick([d for d in allowed("Shrink", 9) if d.startswith("int")])
    x = g.values(dtype, g.shape(), "small")
    bias, lambd = g.pick((0.0, 1.0)), g.pick((1.0, 2.0))
    formula = ACTIVATIONS["Shrink"][2]
    attributes = {"bias": bias, "lambd": lambd}
    want = lambda: [np.asarray(formula(x.astype(float), bias, lambd)).astype(x.dtype)]  # noqa: E731
    return single("Shrink", [x], attributes, constant=g.constants(1), want=want)


def relu(g: Draw) -> Case:
    opset = g.pick((6, 13, 14))
    x = g.values(g.dtype(allowed("Relu", opset)), g.shape())
    zero = np.zeros((), x.dtype)
    return single("Relu", [x], opset=opset, want=lambda: [np.maximum(x, zero)])


def prelu(g: Draw) -> Case:
    opset = g.pick((9, 16))
    dtype = g.dtype(allowed("PRelu", opset))
    shape = g.shape(1)
    x = g.values(dtype, shape, "small" if not is_float(dtype) else None)
    slope = g.values(dtype, g.narrower(shape), "small")
    negative = x.astype(np.float64) < 0

    def want() -> list[np.ndarray]:
        wide = np.float64 if is_float(dtype) else x.dtype
        product = x.astype(wide) * slope.astype(wide)
        return [np.where(negative, product, x.astype(wide)).astype(x.dtype)]

    return single("PRelu", [x, slope], opset=opset, constant=g.constants(2), want=want)


def clip(g: Draw) -> Case:
    opset = g.pick((6, 11, 12, 13))
    dtype = g.dtype(allowed("Clip", opset))
    x = g.values(dtype, g.shape())
    low = g.values(dtype, [], "small") if g.flag() else None
    high = g.values(dtype, [], "small") if g.flag() else None
    if low is not None and high is not None and g.int(0, 3):
        # The other way round every value becomes the maximum.
        low, high = np.minimum(low, high), np.maximum(low, high)

    def want() -> list[np.ndarray]:
        y = x if low is None else np.maximum(x, low)
        return [y if high is None else np.minimum(y, high)]

    if opset == 6:
        bounds = {"min": low, "max": high}
        given = {k: float(v) for k, v in bounds.items() if v is not None}
        return single("Clip", [x], given, opset=6, want=want)
    inputs = [x, low, high] if high is not None else [x, low] if low is not None else [x]
    return single(
        "Clip",
        [None if v is None else np.asarray(v) for v in inputs],
        opset=opset,
        constant=[i for i in g.constants(len(inputs)) if inputs[i] is not None],
        want=want,
    )


NUMBERS = [d for d in allowed("Cast", 13) if d not in ("string", "bool")]


def _fits(g: Draw, source: str, target: str, shape: list[int]) -> np.ndarray:
    """Values whose conversion is defined: a float that fits an integer, for one."""
    if target in ("bool", source):
        return g.values(source, shape)
    if is_float(source):
        if not is_float(target):
            return g.values(source, shape, "positive" if target.startswith("u") else "small")
        # Through double precision to bfloat16 would be rounded twice.
        return g.values("float32", shape).astype(dtype_of(source))
    return g.values(source, shape, "small" if "16" in target and is_float(target) else None)


def cast(g: Draw) -> Case:
    opset = g.pick((9, 13, 19, 21))
    known = [*NUMBERS, "bool"]
    known = [d for d in known if opset > 9 or d != "bfloat16"]
    source, target = g.pick(known), g.pick(known)
    x = _fits(g, source, target, g.shape())
    return _cast(g, x, target, opset, lambda: [x.astype(dtype_of(target))])


def _cast(g: Draw, x: np.ndarray, target: str, opset: int, want: Any, **case: Any) -> Case:
    from onnx import TensorProto, helper

    dtype = dtype_of(target)
    text = dtype.kind == "O"
    to = TensorProto.STRING if text else helper.np_dtype_to_tensor_dtype(dtype)
    if opset >= 15 and g.flag():
        like = g.values(target, g.shape(0, 2), "small")
        values, op = [x, like], "CastLike"
        return single(op, values, opset=opset, constant=g.constants(2), want=want, **case)
    return single(
        "Cast", [x], {"to": int(to)}, opset=opset, constant=g.constants(1), want=want, **case
    )


def cast_out_of_range(g: Draw) -> Case:
    """NaN, infinities and large floats as whole numbers: undefined, and no panic."""
    source = g.pick([d for d in NUMBERS if is_float(d)])
    target = g.pick([d for d in NUMBERS if not is_float(d)])
    return _cast(g, g.values(source, g.shape(), "corners"), target, 21, None, judged=False)


def cast_text(g: Draw) -> Case:
    shape = g.shape(0, 2)
    if g.flag():
        source = g.pick([d for d in NUMBERS if not is_float(d)])
        x = g.values(source, shape)
        want = np.array([str(v) for v in x.ravel().tolist()] + [""], object)[:-1].reshape(shape)
        return _cast(g, x, "string", 21, lambda: [want])
    target = g.pick([d for d in NUMBERS if d != "bfloat16"])
    if is_float(target):
        texts = ["1.5", "-2", "1e3", "NaN", "INF", "-INF", "+INF", "0", "-0.0", ".5", "2.5E-1"]
    else:
        low, high = limits(target)
        texts = ["0", "7", "12", str(low), str(high)]
    chosen = [texts[i] for i in g.rng().integers(0, len(texts), int(np.prod(shape)))]
    x = np.array([*chosen, ""], object)[:-1].reshape(shape)
    convert = float if is_float(target) else int
    numbers = np.array([convert(t) for t in chosen], dtype_of(target)).reshape(shape)
    return _cast(g, x, target, 21, lambda: [numbers])


def cast_bad_text(g: Draw) -> Case:
    """What is no number: an error or any answer."""
    x = g.values("string", g.shape(0, 2))
    return _cast(g, x, g.pick([*NUMBERS, "bool"]), 21, None, judged=False)


def test_unary_math() -> None:
    hold(exact, real, real, at_the_limits, examples=25)


def test_activations() -> None:
    hold(activation, activation, relu, prelu, clip, shrunk_integers, examples=25)


def test_casts() -> None:
    hold(cast, cast, cast, cast_out_of_range, cast_text, cast_bad_text, examples=25)
