"""The models of ai.onnx.ml: linear ones, support vector machines, trees; against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from .case import Case
from .strategies import Draw, hold
from .test_ml import ml, some

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
    made = ml("TreeEnsembleRegressor", [x], attributes, ml=3)
    # onnxruntime has it for floats alone; numbers as small as these are the same there.
    made.oracle = ml("TreeEnsembleRegressor", [x.astype(np.float32)], attributes, ml=3)
    return made


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
        **{name.replace("_ints", "_int64s"): v for name, v in classes(g, count).items()},
    }
    x = features(g, width)
    return ml("TreeEnsembleClassifier", [x], attributes, outputs=2, ml=3, constant=g.constants(1))


def tree_ensemble(g: Draw) -> Case:
    """The one operator of version 5, whose inner nodes and leaves are numbered apart."""
    width, targets = g.int(1, 3), g.int(1, 2)
    dtype = g.pick(("float32", "float64"))
    rng = g.rng()
    columns: dict[str, list[int]] = {
        name: [] for name in ("featureids", "modes", "true", "trueleaf", "false", "falseleaf")
    }
    splits: list[float] = []
    leaves: list[int] = []

    def grow(depth: int) -> tuple[int, int]:
        """Number of a node or leaf, and whether it is a leaf."""
        if depth == 3 or (depth > 0 and rng.integers(0, 3) == 0):
            leaves.append(int(rng.integers(0, targets)))
            return len(leaves) - 1, 1
        row = len(splits)
        splits.append(float(rng.integers(-8, 9)) / 2)
        columns["featureids"].append(int(rng.integers(0, width)))
        columns["modes"].append(int(rng.integers(0, 6)))
        for name in ("true", "trueleaf", "false", "falseleaf"):
            columns[name].append(0)
        for side in ("true", "false"):
            columns[side][row], columns[f"{side}leaf"][row] = grow(depth + 1)
        return row, 0

    roots = [grow(0)[0] for _ in range(g.int(1, 3))]
    array = numpy_helper.from_array
    attributes = {
        "tree_roots": roots,
        "n_targets": targets,
        "nodes_featureids": columns["featureids"],
        "nodes_modes": array(np.array(columns["modes"], np.uint8)),
        "nodes_splits": array(np.array(splits, dtype)),
        "nodes_truenodeids": columns["true"],
        "nodes_trueleafs": columns["trueleaf"],
        "nodes_falsenodeids": columns["false"],
        "nodes_falseleafs": columns["falseleaf"],
        "leaf_targetids": leaves,
        "leaf_weights": array(g.values(dtype, [len(leaves)], "small")),
        "aggregate_function": g.pick((None, 0, 1, 2, 3)) if targets == 1 else 1,
        "post_transform": g.pick((None, 0)),
    }
    x = g.values(dtype, [g.int(1, 4), width], "small")
    return ml("TreeEnsemble", [x], attributes, constant=g.constants(1))


def test_linear_models() -> None:
    hold(linear_classifier, linear_regressor, svm_regressor, svm_classifier, examples=15)


def test_trees() -> None:
    hold(tree_regressor, tree_classifier, tree_ensemble, examples=20)
