"""What a written file says of itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .native import Native
from .samples import final, is_frame

_TASKS = {
    "classifier": "classifier",
    "regressor": "regressor",
    "ranker": "regressor",
    "outlier_detector": "outlier",
    "clusterer": "cluster",
}


def describe(onnx_model: Any, estimator: Any, sample: Any, native: Native | None) -> None:
    """Says in the file what the answers mean."""
    facts: dict[str, str] = {}
    task = _native_task(native) if native is not None else task_of(final(estimator))
    if task is not None:
        facts["modelserve.task"] = task
    classes = native.labels if native is not None else getattr(estimator, "classes_", None)
    if task == "classifier" and isinstance(classes, np.ndarray):
        facts["modelserve.classes"] = json.dumps(
            [c if isinstance(c, str) else int(c) for c in classes.tolist()]
        )
        if native is not None or hasattr(estimator, "predict_proba"):
            facts["modelserve.output_kind"] = "probabilities"
    names = _feature_names(estimator, sample, native)
    if names is not None and len(onnx_model.graph.input) == 1:
        facts["modelserve.feature_names"] = json.dumps(names)
    for key, value in facts.items():
        entry = onnx_model.metadata_props.add()
        entry.key, entry.value = key, value


def _native_task(native: Native) -> str:
    return {"values": "regressor", "outlier": "outlier"}.get(native.outcome, "classifier")


def task_of(estimator: Any) -> str | None:
    """The task, as the library calls it; None where the estimator does not say."""
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        return "multilabel" if all(len(c) == 2 for c in classes) else None
    kind = getattr(estimator, "_estimator_type", None)
    if kind is None:
        try:
            from sklearn.utils import get_tags

            kind = get_tags(estimator).estimator_type
        except (ImportError, AttributeError, TypeError, ValueError):
            kind = None
    if kind in _TASKS:
        return _TASKS[kind]
    return "transform" if hasattr(estimator, "transform") else None


def _feature_names(estimator: Any, sample: Any, native: Native | None) -> list[str] | None:
    # LightGBM's own names are others: it puts `_` for a space.
    if is_frame(sample):
        return [str(name) for name in sample.columns]
    # XGBoost answers with an error, not an absent attribute, where there are none.
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and native is not None:
        names = native.names
    return None if names is None else [str(n) for n in names]
