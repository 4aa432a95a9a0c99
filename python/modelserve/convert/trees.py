"""scikit-learn's trees, forests, gradient boosting and isolation forests as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .native import Native, Outcome, Thresholds, labels_of

LEAF, AT_MOST, MEMBER = 255, 0, 2
COMPARED, MISSING_YES, MISSING_NO = 0, 1, 2


def at_most_in_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 values that are not above these.

    scikit-learn compares rows rounded to float32 with thresholds in float64: for such a row
    ``x <= t`` and ``x <= at_most_in_float32(t)`` say the same.
    """
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded.astype(np.float64)


class Arrays:
    """The arrays of a ``TreeEnsemble``, tree by tree."""

    def __init__(self, features: int, targets: int) -> None:
        self.features = features
        self.targets = targets
        self._columns: dict[str, list[NDArray[Any]]] = {}
        self._nodes = 0
        self._leaves = 0
        self._roots: list[int] = []
        self._sets: list[NDArray[np.float64]] = []

    def add_set(self, values: NDArray[np.float64]) -> int:
        """Adds a set of categories; answers its number."""
        self._sets.append(values)
        return len(self._sets) - 1

    def add(
        self,
        *,
        leaf: NDArray[np.bool_],
        modes: NDArray[Any],
        features: NDArray[Any],
        thresholds: NDArray[np.float64],
        yes: NDArray[Any],
        no: NDArray[Any],
        missing: NDArray[Any],
        values: NDArray[np.float64],
        target: int | None,
        cover: NDArray[np.float64],
        gain: NDArray[np.float64] | None = None,
    ) -> None:
        """Adds a tree with the children numbered within it.

        ``values`` are those of all nodes: ``[nodes, targets]``, or ``[nodes]`` with ``target``.
        """
        count = len(leaf)
        self._roots.append(self._nodes)
        row = np.where(leaf, self._leaves + np.cumsum(leaf) - 1, 0)
        columns: dict[str, NDArray[Any]] = {
            "nodes_modes": np.where(leaf, LEAF, modes).astype(np.uint8),
            "nodes_features": np.where(leaf, 0, features).astype(np.int32),
            "nodes_thresholds": np.where(leaf, 0.0, thresholds).astype(np.float64),
            "nodes_yes": np.where(leaf, row, yes + self._nodes).astype(np.int32),
            "nodes_no": np.where(leaf, 0, no + self._nodes).astype(np.int32),
            "nodes_missing": np.where(leaf, COMPARED, missing).astype(np.uint8),
            "nodes_cover": cover.astype(np.float64),
            "nodes_ids": np.arange(count, dtype=np.int32),
            "leaf_values": values[leaf].astype(np.float64).reshape(-1),
        }
        if target is not None:
            columns["leaf_targets"] = np.full(int(leaf.sum()), target, np.int32)
        if gain is not None:
            columns["nodes_gain"] = np.where(leaf, 0.0, gain).astype(np.float64)
        for name, column in columns.items():
            self._columns.setdefault(name, []).append(column)
        self._nodes += count
        self._leaves += int(leaf.sum())

    def attributes(self) -> dict[str, Any]:
        """The operator's attributes but for those of arithmetic."""
        found: dict[str, Any] = {
            name: np.concatenate(parts) for name, parts in self._columns.items()
        }
        if "leaf_targets" not in found:
            found["leaf_values"] = found["leaf_values"].reshape(-1, self.targets)
        if self._sets:
            starts = np.cumsum([0, *(len(s) for s in self._sets)])
            found["set_values"] = np.concatenate(self._sets).astype(np.float64)
            found["set_starts"] = starts.astype(np.int32)
        found["roots"] = np.array(self._roots, np.int32)
        found["n_features"] = self.features
        found["n_targets"] = self.targets
        return found

    def thresholds(self) -> Thresholds:
        """What the comparisons compare with."""
        modes = np.concatenate(self._columns["nodes_modes"])
        compared = modes == AT_MOST
        return Thresholds(
            features=np.concatenate(self._columns["nodes_features"])[compared].astype(np.int64),
            values=np.concatenate(self._columns["nodes_thresholds"])[compared],
        )


def _add(
    arrays: Arrays,
    tree: Any,
    values: NDArray[np.float64],
    *,
    target: int | None = None,
    columns: NDArray[Any] | None = None,
) -> None:
    """Adds a fitted ``tree_``; ``columns`` are the features that it was shown."""
    leaf = tree.children_left == -1
    features = np.where(leaf, 0, tree.feature)
    left = getattr(tree, "missing_go_to_left", np.zeros(len(leaf), np.uint8)).astype(bool)
    arrays.add(
        leaf=leaf,
        modes=np.full(len(leaf), AT_MOST),
        features=features if columns is None else np.asarray(columns)[features],
        thresholds=at_most_in_float32(np.asarray(tree.threshold, np.float64)),
        yes=tree.children_left,
        no=tree.children_right,
        missing=np.where(left, MISSING_YES, MISSING_NO),
        values=values,
        target=target,
        cover=np.asarray(tree.weighted_n_node_samples, np.float64),
        gain=_gain(tree),
    )


def _gain(tree: Any) -> NDArray[np.float64]:
    """What each split takes off the weighted impurity: the terms of ``feature_importances_``."""
    leaf = tree.children_left == -1
    weighted = np.asarray(tree.weighted_n_node_samples * tree.impurity, np.float64)
    below = weighted[tree.children_left] + weighted[tree.children_right]
    return np.where(leaf, 0.0, weighted - below)


def _native(
    arrays: Arrays,
    outcome: Outcome,
    *,
    labels: NDArray[Any] | None = None,
    by_margin: bool = False,
    **arithmetic: Any,
) -> Native:
    attributes = arrays.attributes() | {"features": "float", "sums": "double"} | arithmetic
    return Native(
        operator="TreeEnsemble",
        attributes=attributes | {"outcome": f"{outcome}_by_margin" if by_margin else outcome},
        features=arrays.features,
        dtype=np.dtype(np.float64),
        outcome=outcome,
        targets=2 if outcome == "binary" else arrays.targets,
        labels=labels,
        thresholds=arrays.thresholds(),
    )


def forest(estimator: Any) -> Native | None:
    """A tree, or a forest of trees that are averaged; None for several outputs with classes."""
    trees = getattr(estimator, "estimators_", None) or [estimator]
    width = int(estimator.n_features_in_)
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        if estimator.n_outputs_ != 1:
            return None
        arrays = Arrays(width, len(classes))
        for member in trees:
            _add(arrays, member.tree_, _shares(member.tree_.value[:, 0, : len(classes)]))
        labels = labels_of(classes, type(estimator).__name__)
        return _native(arrays, "classes", labels=labels, aggregate="AVERAGE")
    arrays = Arrays(width, int(estimator.n_outputs_))
    for member in trees:
        _add(arrays, member.tree_, member.tree_.value[:, :, 0])
    return _native(arrays, "values", aggregate="AVERAGE")


def forest_outputs(estimator: Any) -> list[Native]:
    """A tree or forest of several outputs with classes: one operator for each.

    All answer with as many probabilities as the output with most classes has: the others' last
    ones are 0.
    """
    trees = getattr(estimator, "estimators_", None) or [estimator]
    most = max(map(len, estimator.classes_))
    found = []
    for output, classes in enumerate(estimator.classes_):
        arrays = Arrays(int(estimator.n_features_in_), most)
        for member in trees:
            shares = np.zeros((member.tree_.node_count, most))
            value = member.tree_.value[:, output, : len(classes)]
            shares[:, : len(classes)] = _shares(value)
            _add(arrays, member.tree_, shares)
        labels = labels_of(classes, type(estimator).__name__)
        # No probability of 0 is the largest: what stands for these labels is not seen.
        labels = np.concatenate([labels, np.repeat(labels[-1:], most - len(classes))])
        found.append(_native(arrays, "classes", labels=labels, aggregate="AVERAGE"))
    return found


def _shares(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the classes, which scikit-learn before 1.3 kept as weights."""
    totals = value.sum(axis=1, keepdims=True)
    if np.allclose(totals, 1.0):
        return value
    totals[totals == 0.0] = 1.0
    return np.asarray(value / totals)


def gradient_boosting(estimator: Any) -> Native | None:
    """Gradient boosting; None where it starts from another model's answers."""
    base = _initial(estimator)
    if base is None:
        return None
    stages = estimator.estimators_
    arrays = Arrays(int(estimator.n_features_in_), stages.shape[1])
    rate = float(estimator.learning_rate)
    for stage in stages:
        for target, member in enumerate(stage):
            values = rate * member.tree_.value[:, 0, 0]
            _add(arrays, member.tree_, values, target=target)
    start: dict[str, Any] = {"base": base, "base_first": 1}
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return _native(arrays, "values", **start)
    labels = labels_of(classes, type(estimator).__name__)
    if len(classes) > 2:
        return _native(arrays, "classes", labels=labels, link="softmax", **start)
    slope = 2.0 if estimator.loss == "exponential" else 1.0
    start |= {"link": "sigmoid", "link_parameters": np.array([slope])}
    # scikit-learn's labels go by the margin: where it is exactly 0, by the second class.
    return _native(arrays, "binary", labels=labels, by_margin=True, **start)


def _initial(estimator: Any) -> NDArray[np.float64] | None:
    """The margins that every row starts with; None where rows start with different ones."""
    first = estimator.init_
    if isinstance(first, str):
        return np.zeros(estimator.estimators_.shape[1])
    if not type(first).__name__.startswith("Dummy") or first.strategy in ("stratified", "uniform"):
        return None
    row = np.zeros((1, estimator.n_features_in_), np.float32)
    return np.asarray(estimator._raw_predict_init(row)[0], np.float64)


def isolation_forest(estimator: Any) -> Native:
    """An isolation forest: depths, and the score that is made of their sum."""
    width = int(estimator.n_features_in_)
    arrays = Arrays(width, 1)
    every: Sequence[Any] = estimator.estimators_features_
    for i, (member, columns) in enumerate(zip(estimator.estimators_, every, strict=True)):
        lengths = estimator._decision_path_lengths[i] + estimator._average_path_length_per_tree[i]
        subset = None if estimator._max_features == width else columns
        _add(arrays, member.tree_, lengths - 1.0, target=0, columns=subset)
    from sklearn.ensemble._iforest import _average_path_length

    normal = len(estimator.estimators_) * float(_average_path_length([estimator._max_samples])[0])
    # Trees of one row have no depth to speak of: scikit-learn sets depth over normal to 1.
    start: dict[str, Any] = {} if normal else {"base": np.ones(1), "base_first": 1}
    parameters = np.array([normal or 1.0, float(estimator.offset_)])
    return _native(
        arrays,
        "outlier",
        labels=np.array([-1, 1], np.int64),
        link="isolation",
        link_parameters=parameters,
        **start,
    )
