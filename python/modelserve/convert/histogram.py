"""scikit-learn's HistGradientBoosting estimators as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .native import Native, Outcome, labels_of
from .trees import AT_MOST, MEMBER, MISSING_NO, MISSING_YES, Arrays


class _Columns:
    """Which column of a row a feature of the model is, and its categories there."""

    def __init__(self, estimator: Any) -> None:
        width = int(estimator.n_features_in_)
        categorical = estimator.is_categorical_
        self.order = np.arange(width)
        #: Labels that are texts, by column: rows hold their place.
        self.texts: dict[int, NDArray[Any]] = {}
        #: What a row holds for each category, by feature of the model.
        self.values: dict[int, NDArray[np.float64]] = {}
        if categorical is None:
            return
        # The encoder takes the categorical features, and puts them first.
        self.order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
        encoder = estimator._preprocessor.named_transformers_["encoder"]
        for feature, labels in enumerate(encoder.categories_):
            known = np.array([c for c in labels.tolist() if c is not None and c == c])
            if known.dtype.kind in "iufb":
                self.values[feature] = known.astype(np.float64)
            else:
                self.texts[int(self.order[feature])] = known.astype(object)
                self.values[feature] = np.arange(len(known), dtype=np.float64)


def _members(bitset: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The numbers in a set of 256 bits."""
    bits = np.unpackbits(np.asarray(bitset, "<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits)


def _add(arrays: Arrays, columns: _Columns, predictor: Any, known: Any, target: int) -> None:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    left_if_missing = nodes["missing_go_to_left"].astype(bool)
    yes, no = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    thresholds = nodes["num_threshold"].astype(np.float64)
    modes = np.full(len(nodes), AT_MOST)
    missing = np.where(left_if_missing, MISSING_YES, MISSING_NO)
    for i in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        feature = int(nodes["feature_idx"][i])
        chosen = _members(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]])
        if left_if_missing[i]:
            # A category that was never seen goes where missing values go: the set is the other
            # branch's, and what is in it neither as missing nor as unknown.
            yes[i], no[i] = no[i], yes[i]
            chosen = np.setdiff1d(_members(known[feature]), chosen)
        modes[i], missing[i] = MEMBER, MISSING_NO
        values = columns.values[feature]
        thresholds[i] = arrays.add_set(values[chosen[chosen < len(values)]])
    arrays.add(
        leaf=leaf,
        modes=modes,
        features=columns.order[nodes["feature_idx"]],
        thresholds=thresholds,
        yes=yes,
        no=no,
        missing=missing,
        values=nodes["value"],
        target=target,
        cover=nodes["count"].astype(np.float64),
        gain=nodes["gain"].astype(np.float64),
    )


def hist_gradient_boosting(estimator: Any) -> Native:
    """The estimator as an operator, in float64 throughout."""
    columns = _Columns(estimator)
    per_stage = int(estimator.n_trees_per_iteration_)
    arrays = Arrays(int(estimator.n_features_in_), per_stage)
    bitsets, places = estimator._bin_mapper.make_known_categories_bitsets()
    known = {feature: bitsets[places[feature]] for feature in columns.values}
    for stage in estimator._predictors:
        for target, predictor in enumerate(stage):
            _add(arrays, columns, predictor, known, target)
    classes = getattr(estimator, "classes_", None)
    outcome: Outcome = "values"
    link, labels = "identity", None
    if classes is None:
        if type(estimator._loss.link).__name__ == "LogLink":
            link = "exp"
    else:
        labels = labels_of(classes, type(estimator).__name__)
        outcome, link = ("classes", "softmax") if per_stage > 1 else ("binary", "sigmoid")
    attributes = arrays.attributes() | {
        "features": "double",
        "sums": "double",
        "base": np.asarray(estimator._baseline_prediction, np.float64).reshape(-1),
        "base_first": 1,
        "link": link,
        "outcome": outcome,
    }
    return Native(
        operator="TreeEnsemble",
        attributes=attributes,
        features=arrays.features,
        dtype=np.dtype(np.float64),
        outcome=outcome,
        targets=2 if outcome == "binary" else per_stage,
        labels=labels,
        categories=columns.texts,
        thresholds=arrays.thresholds(),
    )
