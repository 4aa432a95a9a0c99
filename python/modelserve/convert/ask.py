"""The trainer's own answers, in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samples import is_frame, library


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Labels, and scores or values; None for what there is not."""

    labels: NDArray[Any] | None = None
    #: What `what` says: probabilities, scores of outliers, or values.
    numbers: NDArray[Any] | None = None
    what: str = "values"


def ask(estimator: Any, rows: Any, task: str) -> Answers:
    """What the estimator or booster answers for these rows; ``task`` is the written model's."""
    source = library(estimator)
    if source == "xgboost" and not hasattr(estimator, "get_booster"):
        return _probability(np.asarray(_booster_predict(estimator, rows, np.nan)), task)
    if source == "xgboost" and getattr(estimator, "booster", None) == "dart":
        # The estimator's own way scales the trees in another order, which rounds differently.
        raw = _booster_predict(estimator.get_booster(), rows, estimator.missing)
        return _classes(estimator, raw) if task == "classifier" else Answers(numbers=raw)
    if source == "lightgbm" and not hasattr(estimator, "booster_"):
        return _probability(np.asarray(estimator.predict(rows)), task)
    if task == "classifier":
        labels = np.asarray(estimator.predict(rows))
        if labels.ndim == 2 and labels.shape[1] == 1:
            # CatBoost's, for three classes and more.
            labels = labels.reshape(-1)
        if not hasattr(estimator, "predict_proba"):
            return Answers(labels=labels)
        numbers = np.asarray(estimator.predict_proba(rows))
        return Answers(labels=labels, numbers=numbers, what="probabilities")
    if task == "outlier":
        labels = np.asarray(estimator.predict(rows))
        if not hasattr(estimator, "decision_function"):
            return Answers(labels=labels)
        return Answers(labels=labels, numbers=estimator.decision_function(rows), what="scores")
    if task in ("multilabel", "cluster"):
        return Answers(labels=np.asarray(estimator.predict(rows)))
    if hasattr(estimator, "predict"):
        return Answers(numbers=np.asarray(estimator.predict(rows)))
    made = estimator.transform(rows)
    return Answers(numbers=made.toarray() if hasattr(made, "toarray") else np.asarray(made))


def _booster_predict(booster: Any, rows: Any, missing: float) -> NDArray[Any]:
    import xgboost

    names = None if is_frame(rows) else booster.feature_names
    types = None if is_frame(rows) else booster.feature_types
    matrix = xgboost.DMatrix(
        rows, missing=missing, feature_names=names, feature_types=types, enable_categorical=True
    )
    best = booster.attr("best_iteration")
    rounds = (0, 0) if best is None else (0, int(best) + 1)
    return np.asarray(booster.predict(matrix, iteration_range=rounds))


def _probability(raw: NDArray[Any], task: str) -> Answers:
    """A booster's answers, which has no classes but numbers."""
    if task != "classifier":
        return Answers(numbers=raw)
    if raw.ndim == 1:
        raw = np.stack([1 - raw, raw], axis=1)
    return Answers(labels=np.argmax(raw, axis=1), numbers=raw, what="probabilities")


def _classes(estimator: Any, raw: NDArray[Any]) -> Answers:
    answers = _probability(raw, "classifier")
    labels = np.asarray(estimator.classes_)[answers.labels]
    return Answers(labels=labels, numbers=answers.numbers, what="probabilities")
