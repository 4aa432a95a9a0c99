"""The operators of ai.onnx.ml, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from .case import Case, single
from .strategies import WORDS, Draw, allowed, hold

DOMAIN = "ai.onnx.ml"


def ml(op: str, values: Any, attributes: Any = None, **case: Any) -> Case:
    return single(op, values, attributes, domain=DOMAIN, **case)


def table(g: Draw, op: str, low: int = 1, version: int = 1) -> np.ndarray:
    """Rows of any type the operator takes."""
    dtype = g.dtype(allowed(op, version, 0, DOMAIN))
    return g.values(dtype, g.shape(low, 2, empty=False), "small")


def some(g: Draw, count: int) -> list[float]:
    return [float(v) for v in g.values("float32", [count], "small")]


def scaler(g: Draw) -> Case:
    x = table(g, "Scaler")
    width = x.shape[-1]
    offset = some(g, g.pick((1, width)))
    scale = some(g, g.pick((1, width)))

    def want() -> list[np.ndarray]:
        y = (x.astype(np.float32) - np.float32(offset)) * np.float32(scale)
        return [y.astype(np.float32)]

    return ml("Scaler", [x], {"offset": offset, "scale": scale}, constant=g.constants(1), want=want)


def normalizer(g: Draw) -> Case:
    """onnxruntime divides by nothing where a row is zero, so none is."""
    x = table(g, "Normalizer", 2)
    x = np.where(x == 0, np.ones((), x.dtype), x)
    norm = g.pick((None, "MAX", "L1", "L2"))

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        sizes = {
            "L1": np.abs(wide).sum(-1, keepdims=True),
            "L2": np.sqrt((wide * wide).sum(-1, keepdims=True)),
        }
        return [(wide / sizes[norm]).astype(np.float32)]

    # "Max" is the greatest, says the specification, and of the greatest amount elsewhere.
    positive = bool((x > 0).all())
    if norm in (None, "MAX"):
        judged = positive
        return ml(
            "Normalizer",
            [x],
            {"norm": norm},
            constant=g.constants(1),
            judged=judged,
            want=lambda: [(x.astype(np.float64) / x.max(-1, keepdims=True)).astype(np.float32)],
        )
    return ml("Normalizer", [x], {"norm": norm}, constant=g.constants(1), want=want)


def imputer(g: Draw) -> Case:
    dtype = g.pick(("float32", "float64", "int64"))
    x = g.values(dtype, g.shape(2, 2, empty=False), "finite")
    width = x.shape[-1]
    new = g.values(dtype, [g.pick((1, width))], "small")
    missing = g.values(dtype, [], "small")
    if x.dtype.kind == "f":
        if g.flag():
            missing = np.array(np.nan, x.dtype)
        attributes = {
            "imputed_value_floats": [float(v) for v in new],
            "replaced_value_float": float(missing),
        }
        found = np.isnan(x) if np.isnan(missing) else x == missing
    else:
        attributes = {
            "imputed_value_int64s": [int(v) for v in new],
            "replaced_value_int64": int(missing),
        }
        found = x == missing
    constant = g.constants(1)
    return ml("Imputer", [x], attributes, constant=constant, want=lambda: [np.where(found, new, x)])


KEYS: dict[str, list[Any]] = {
    "string": list(WORDS[:6]),
    "int64": [0, 1, -1, 7, 2**62],
    "float": [0.0, 1.5, -2.0, float("nan"), float("inf")],
}


def label_encoder(g: Draw) -> Case:
    source, target = g.pick(list(KEYS)), g.pick(list(KEYS))
    keys, values = KEYS[source], KEYS[target]
    count = g.int(1, len(keys))
    order = [int(i) for i in g.rng().permutation(len(keys))[:count]]
    mapped = [values[i % len(values)] for i in order]
    version = g.pick((2, 4))
    if version == 2:
        # That a NaN is found has been said with version 4.
        order = [i for i in order if keys[i] == keys[i]] or [0]
        mapped = [values[i % len(values)] for i in order]
    default: Any = {"string": "none", "int64": -9, "float": -0.5}[target]
    shape = g.shape(1, 2)
    dtype = {"string": object, "int64": np.int64, "float": np.float32}
    chosen = [keys[i] for i in g.rng().integers(0, len(keys), int(np.prod(shape)))]
    x = np.array([*chosen, keys[0]], dtype[source])[:-1].reshape(shape)
    named = g.flag()
    attributes: dict[str, Any] = {
        f"keys_{source}s": [keys[i] for i in order],
        f"values_{target}s": mapped,
    }
    if named:
        attributes[f"default_{target}"] = default
    usual: Any = {"string": "_Unused", "int64": -1, "float": -0.0}[target]

    def found(key: Any) -> Any:
        for i, value in zip(order, mapped, strict=True):
            if keys[i] == key or (key != key and keys[i] != keys[i]):
                return value
        return default if named else usual

    def want() -> list[np.ndarray]:
        answers = [found(k) for k in chosen]
        return [np.array([*answers, usual], dtype[target])[:-1].reshape(shape)]

    constant = g.constants(1)
    return ml("LabelEncoder", [x], attributes, ml=version, constant=constant, want=want)


def label_encoder_of_tensors(g: Draw) -> Case:
    """Version 4 takes keys and values as tensors too."""
    keys = np.array([1.0, 2.5, -1.0], np.float64)
    values = g.pick((np.array([7, 8, 9], np.int16), np.array([0.5, 1.5, 2.5], np.float64)))
    default = np.array([-1], values.dtype)
    x = g.rng().choice(np.array([1.0, 2.5, -1.0, 3.0]), g.shape(1, 2))

    def want() -> list[np.ndarray]:
        y = np.full(x.shape, default[0], values.dtype)
        for key, value in zip(keys, values, strict=True):
            y[x == key] = value
        return [y]

    attributes = {
        "keys_tensor": numpy_helper.from_array(keys),
        "values_tensor": numpy_helper.from_array(values),
        "default_tensor": numpy_helper.from_array(default),
    }
    return ml("LabelEncoder", [x], attributes, ml=4, constant=g.constants(1), want=want)


def one_hot(g: Draw) -> Case:
    text = g.flag()
    shape = g.shape(1, 2, empty=False)
    rng = g.rng()
    known: list[Any] = ["a", "b", "c"] if text else [1, 2, 5]
    zeros = g.pick((None, 1))
    pool = known if zeros is None and g.int(0, 3) == 0 else [*known, "?" if text else 9]
    chosen = [pool[i] for i in rng.integers(0, len(pool), int(np.prod(shape)))]
    dtype = object if text else g.pick((np.int64, np.float32, np.float64, np.int32))
    x = np.array([*chosen, known[0]], dtype)[:-1].reshape(shape)

    def want() -> list[np.ndarray]:
        hot = np.array([[k == v for k in known] for v in chosen], np.float32)
        return [hot.reshape(*shape, len(known))]

    attributes = {"cats_strings" if text else "cats_int64s": known, "zeros": zeros}
    return ml("OneHotEncoder", [x], attributes, constant=g.constants(1), want=want)


def extractor(g: Draw) -> Case:
    dtype = g.pick(("float32", "float64", "int64", "int32", "string"))
    x = g.values(dtype, g.shape(1, 3, empty=False), "small")
    count = g.int(1, 4)
    at = g.rng().integers(0, x.shape[-1], count).astype(np.int64)

    def want() -> list[np.ndarray]:
        y = x[..., at]
        return [y.reshape(1, count) if x.ndim == 1 else y]

    return ml("ArrayFeatureExtractor", [x, at], constant=g.constants(2), want=want)


def binarizer(g: Draw) -> Case:
    x = table(g, "Binarizer")
    limit = g.pick((None, 0.0, 1.0, -0.5))
    y = np.where(x > (limit or 0.0), 1, 0).astype(x.dtype)
    constant = g.constants(1)
    return ml("Binarizer", [x], {"threshold": limit}, constant=constant, want=lambda: [y])


def vectorizer(g: Draw) -> Case:
    """Inputs of one type, side by side as float32."""
    dtype = g.pick(("float32", "float64", "int64", "int32"))
    rows = g.int(1, 3)
    widths = [g.int(1, 3) for _ in range(g.int(1, 3))]
    values = [g.values(dtype, [rows, w], "small") for w in widths]
    y = np.concatenate(values, 1).astype(np.float32)
    attributes = {"inputdimensions": widths}
    constant = g.constants(len(values))
    return ml("FeatureVectorizer", values, attributes, constant=constant, want=lambda: [y])


def dict_vectorizer(g: Draw) -> Case:
    """A map comes from ZipMap, as a caller's array is none."""
    text = g.flag()
    known: list[Any] = ["a", "b", "c"] if text else [1, 2, 5]
    vocabulary = [known[int(i)] for i in g.rng().permutation(3)]
    x = g.values("float32", [1, 3], "small")
    kind = "strings" if text else "int64s"
    nodes = [
        helper.make_node("ZipMap", ["x"], ["z"], domain=DOMAIN, **{f"classlabels_{kind}": known}),
        helper.make_node("SequenceAt", ["z", "i"], ["m"]),
        helper.make_node(
            "DictVectorizer",
            ["m"],
            ["y"],
            domain=DOMAIN,
            **{f"{'string' if text else 'int64'}_vocabulary": vocabulary},
        ),
    ]
    y = np.array([[x[0, known.index(v)] for v in vocabulary]], np.float32)
    zero = {"i": np.array(0, np.int64)}
    return Case(nodes, {"x": x}, ["y"], zero, want=lambda: [y])


def zip_map(g: Draw) -> Case:
    text = g.flag()
    known: list[Any] = ["a", "b", "c"] if text else [1, 2, 5]
    x = g.values("float32", [g.int(1, 3), 3], "small")
    attributes = {"classlabels_strings" if text else "classlabels_int64s": known}
    rows = [dict(zip(known, (float(v) for v in row), strict=True)) for row in x]
    return ml("ZipMap", [x], attributes, want=lambda: [rows])


def category_mapper(g: Draw) -> Case:
    texts, numbers = ["a", "b", "c"], [1, 5, -2]
    shape = g.shape(1, 2)
    chosen = g.rng().integers(0, 4, int(np.prod(shape)))
    attributes = {"cats_strings": texts, "cats_int64s": numbers}
    if g.flag():
        x = np.array([*([*texts, "?"][i] for i in chosen), ""], object)[:-1].reshape(shape)
        default = g.pick((None, 7))
        answers = [[*numbers, -1 if default is None else default][i] for i in chosen]
        y = np.array(answers, np.int64).reshape(shape)
        attributes["default_int64"] = default
    else:
        x = np.array([[*numbers, 99][i] for i in chosen], np.int64).reshape(shape)
        other = g.pick((None, "none"))
        words = [[*texts, "_Unused" if other is None else other][i] for i in chosen]
        y = np.array([*words, ""], object)[:-1].reshape(shape)
        attributes["default_string"] = other
    return ml("CategoryMapper", [x], attributes, constant=g.constants(1), want=lambda: [y])


def cast_map(g: Draw) -> Case:
    keys = [1, 2, 5]
    x = g.values("float32", [1, 3], "small")
    sparse = g.flag()
    to = g.pick((None, "TO_FLOAT", "TO_INT64", "TO_STRING"))
    if to == "TO_STRING":
        # How a float is written is for each implementation.
        to = "TO_FLOAT"
    given = {"cast_to": to, "map_form": "SPARSE" if sparse else g.pick((None, "DENSE"))}
    given["max_map"] = 7 if sparse else None
    attributes = {k: v for k, v in given.items() if v is not None}
    nodes = [
        helper.make_node("ZipMap", ["x"], ["z"], domain=DOMAIN, classlabels_int64s=keys),
        helper.make_node("SequenceAt", ["z", "i"], ["m"]),
        helper.make_node("CastMap", ["m"], ["y"], domain=DOMAIN, **attributes),
    ]
    row = np.zeros((1, 7), np.float32)
    row[0, keys] = x[0]
    y = (row if sparse else x).astype(np.int64 if to == "TO_INT64" else np.float32)
    zero = {"i": np.array(0, np.int64)}
    return Case(nodes, {"x": x}, ["y"], zero, want=lambda: [y])


def test_features() -> None:
    hold(
        *(scaler, normalizer, imputer, label_encoder, label_encoder_of_tensors, one_hot),
        *(extractor, binarizer, vectorizer, dict_vectorizer, zip_map, category_mapper, cast_map),
        examples=25,
    )
