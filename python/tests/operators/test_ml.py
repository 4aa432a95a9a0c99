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
    return ml("LabelEncoder", [x], attributes, ml=g.pick((2, 4)), constant=constant, want=want)


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


TRANSFORMS = (None, "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def rows_of(
    g: Draw, width: int, dtypes: tuple[str, ...] = ("float32", "float64", "int64")
) -> np.ndarray:
    return g.values(g.pick(dtypes), [g.int(1, 4), width], "small")


def classes(g: Draw, count: int) -> dict[str, Any]:
    if g.flag():
        return {"classlabels_strings": [f"c{i}" for i in range(count)]}
    return {"classlabels_ints": [3 * i - 1 for i in range(count)]}


def linear_classifier(g: Draw) -> Case:
    width, count = g.int(1, 3), g.int(2, 4)
    given = classes(g, count)
    if "classlabels_strings" in given:
        given["classlabels_strings"] = given["classlabels_strings"]
    attributes = {
        "coefficients": some(g, count * width),
        # Apart from one another by less than any feature: no ties between classes.
        "intercepts": [0.0625 * (i + 1) for i in range(count)],
        "multi_class": g.pick((None, 0, 1)),
        "post_transform": g.pick(TRANSFORMS),
        **given,
    }
    x = rows_of(g, width)
    return ml("LinearClassifier", [x], attributes, outputs=2, constant=g.constants(1))


def linear_regressor(g: Draw) -> Case:
    width, count = g.int(1, 3), g.int(1, 3)
    attributes = {
        "coefficients": some(g, count * width),
        "intercepts": some(g, count) if g.flag() else None,
        "targets": count if count > 1 or g.flag() else None,
        "post_transform": g.pick(TRANSFORMS),
    }
    x = rows_of(g, width, ("float32",))
    return ml("LinearRegressor", [x], attributes, constant=g.constants(1))


KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def svm_regressor(g: Draw) -> Case:
    width, vectors = g.int(1, 3), g.int(1, 4)
    attributes = {
        "coefficients": some(g, vectors),
        "kernel_params": [0.25, 0.5, float(g.int(1, 3))],
        "kernel_type": g.pick(KERNELS),
        "n_supports": vectors,
        "one_class": g.pick((None, 0, 1)),
        "post_transform": g.pick((None, "NONE")),
        "rho": [0.375],
        "support_vectors": some(g, vectors * width),
    }
    return ml(
        "SVMRegressor", [rows_of(g, width, ("float32",))], attributes, constant=g.constants(1)
    )


def svm_classifier(g: Draw) -> Case:
    width, count = g.int(1, 3), g.int(2, 3)
    per = [g.int(1, 2) for _ in range(count)]
    vectors = sum(per)
    pairs = count * (count - 1) // 2
    probable = g.flag()
    attributes = {
        "coefficients": some(g, vectors * (count - 1)),
        "kernel_params": [0.25, 0.5, float(g.int(1, 3))],
        "kernel_type": g.pick(KERNELS),
        "post_transform": g.pick((None, "NONE")),
        "prob_a": [-1.5] * pairs if probable else None,
        "prob_b": [0.125] * pairs if probable else None,
        "rho": [0.40625 + 0.0625 * i for i in range(pairs)],
        "support_vectors": some(g, vectors * width),
        "vectors_per_class": per,
        **classes(g, count),
    }
    x = rows_of(g, width)
    return ml("SVMClassifier", [x], attributes, outputs=2, constant=g.constants(1), loose=4)


MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def trees(g: Draw, width: int) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Random trees of depth at most three, and their leaves."""
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    missing: list[int] = []
    leaves: list[tuple[int, int]] = []
    rng = g.rng()
    mixed = g.flag()
    usual = g.pick(MODES)

    def grow(tree: int, depth: int) -> int:
        row = len(nodes["nodes_treeids"])
        here = sum(1 for t in nodes["nodes_treeids"] if t == tree)
        leaf = depth == 3 or (depth > 0 and rng.integers(0, 3) == 0)
        mode = "LEAF" if leaf else MODES[rng.integers(0, 6)] if mixed else usual
        filled = (
            tree,
            here,
            0 if leaf else int(rng.integers(0, width)),
            0.0 if leaf else float(rng.integers(-8, 9)) / 2,
            mode,
            0,
            0,
        )
        for name, value in zip(names, filled, strict=True):
            nodes[f"nodes_{name}"].append(value)
        missing.append(0 if leaf else int(rng.integers(0, 2)))
        if leaf:
            leaves.append((tree, here))
        else:
            nodes["nodes_truenodeids"][row] = grow(tree, depth + 1)
            nodes["nodes_falsenodeids"][row] = grow(tree, depth + 1)
        return here

    for tree in range(g.int(1, 3)):
        grow(tree, 0)
    if g.flag():
        nodes["nodes_missing_value_tracks_true"] = missing
    return nodes, leaves


def features(g: Draw, width: int) -> np.ndarray:
    dtype = g.pick(("float32", "float32", "float64", "int64"))
    kind = g.pick(("small", "finite")) if dtype.startswith("float") else "small"
    return g.values(dtype, [g.int(1, 4), width], kind)


def tree_regressor(g: Draw) -> Case:
    width, targets = g.int(1, 3), g.int(1, 2)
    nodes, leaves = trees(g, width)
    rng = g.rng()
    rows = [
        (t, n, k) for t, n in leaves for k in range(targets) if targets == 1 or rng.integers(0, 3)
    ]
    rows = rows or [(*leaves[0], 0)]
    attributes = {
        **nodes,
        "n_targets": targets,
        "target_treeids": [r[0] for r in rows],
        "target_nodeids": [r[1] for r in rows],
        "target_ids": [r[2] for r in rows],
        "target_weights": some(g, len(rows)),
        "aggregate_function": g.pick((None, "SUM", "AVERAGE", "MIN", "MAX")),
        "base_values": some(g, targets) if g.flag() else None,
        "post_transform": g.pick((None, "NONE", "LOGISTIC")),
    }
    # Where a target has no leaf on the way, what the least of none is, is not said.
    if targets > 1 and attributes["aggregate_function"] in ("MIN", "MAX"):
        attributes["aggregate_function"] = "SUM"
    x = features(g, width)
    return ml("TreeEnsembleRegressor", [x], attributes, ml=3, constant=g.constants(1))


def tree_classifier(g: Draw) -> Case:
    width, count = g.int(1, 3), g.int(2, 3)
    nodes, leaves = trees(g, width)
    rows = [(t, n, k) for t, n in leaves for k in range(count)]
    weights = np.asarray(g.rng().integers(1, 1000, len(rows))) / 1024
    attributes = {
        **nodes,
        "class_treeids": [r[0] for r in rows],
        "class_nodeids": [r[1] for r in rows],
        "class_ids": [r[2] for r in rows],
        "class_weights": [float(w) for w in weights],
        "base_values": some(g, count) if g.flag() else None,
        "post_transform": g.pick((None, "NONE", "LOGISTIC", "SOFTMAX")),
        **classes(g, count),
    }
    x = features(g, width)
    return ml("TreeEnsembleClassifier", [x], attributes, outputs=2, ml=3, constant=g.constants(1))


def test_features() -> None:
    hold(
        *(scaler, normalizer, imputer, label_encoder, label_encoder_of_tensors, one_hot),
        *(extractor, binarizer, vectorizer, dict_vectorizer, zip_map),
        examples=25,
    )


def test_linear_models() -> None:
    hold(linear_classifier, linear_regressor, svm_regressor, svm_classifier, examples=15)


def test_trees() -> None:
    hold(tree_regressor, tree_classifier, examples=15)
