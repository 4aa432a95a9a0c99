"""The thresholds of the libraries' own files, for rows that lie on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .native import Thresholds


def _thresholds(pairs: list[tuple[Any, Any]]) -> Thresholds:
    features = [np.asarray(f, np.int64) for f, _ in pairs]
    values = [np.asarray(v, np.float64) for _, v in pairs]
    if not pairs:
        return Thresholds.none()
    return Thresholds(features=np.concatenate(features), values=np.concatenate(values))


def xgboost(document: Any) -> Thresholds:
    """Of XGBoost's JSON."""
    learner = document["learner"]["gradient_booster"]
    model = learner.get("gbtree", learner).get("model", {})
    pairs = []
    for tree in model.get("trees", []):
        inner = np.asarray(tree["left_children"]) >= 0
        if tree.get("split_type"):
            inner &= np.asarray(tree["split_type"]) == 0
        features = np.asarray(tree["split_indices"])[inner]
        pairs.append((features, np.asarray(tree["split_conditions"], np.float64)[inner]))
    return _thresholds(pairs)


def lightgbm(text: str) -> Thresholds:
    """Of LightGBM's text."""
    pairs = []
    tree: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in ("split_feature", "threshold", "decision_type"):
            tree[key] = value.split()
        if len(tree) == 3:
            # The lowest bit says that the split is one of categories.
            numeric = np.asarray(tree["decision_type"], np.int64) & 1 == 0
            features = np.asarray(tree["split_feature"], np.int64)[numeric]
            pairs.append((features, np.asarray(tree["threshold"], np.float64)[numeric]))
            tree = {}
    return _thresholds(pairs)


def catboost(document: Any) -> Thresholds:
    """Of CatBoost's JSON."""
    pairs = []
    for feature in document["features_info"].get("float_features") or []:
        borders = feature.get("borders") or []
        pairs.append((np.full(len(borders), feature["flat_feature_index"]), borders))
    return _thresholds(pairs)
