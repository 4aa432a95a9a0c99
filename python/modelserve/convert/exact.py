"""Which estimators become operators of the library's own domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from .boosters import booster
from .histogram import hist_gradient_boosting
from .native import Native, Thresholds
from .samples import library
from .trees import forest, gradient_boosting, isolation_forest

#: By the name of the class in scikit-learn.
_SKLEARN: dict[str, Callable[[Any], Native | None]] = {
    "DecisionTreeClassifier": forest,
    "DecisionTreeRegressor": forest,
    "ExtraTreeClassifier": forest,
    "ExtraTreeRegressor": forest,
    "ExtraTreesClassifier": forest,
    "ExtraTreesRegressor": forest,
    "GradientBoostingClassifier": gradient_boosting,
    "GradientBoostingRegressor": gradient_boosting,
    "HistGradientBoostingClassifier": hist_gradient_boosting,
    "HistGradientBoostingRegressor": hist_gradient_boosting,
    "IsolationForest": isolation_forest,
    "RandomForestClassifier": forest,
    "RandomForestRegressor": forest,
}


def has_native(estimator: Any) -> bool:
    """Whether estimators of this type mostly become one operator."""
    source = library(estimator)
    if source == "sklearn":
        return type(estimator).__name__ in _SKLEARN
    return source in ("xgboost", "lightgbm", "catboost")


def native(estimator: Any, sample: Any) -> Native | None:
    """The estimator as one operator; None where no operator says what it does.

    Raises :class:`ModelServeError` naming what a booster's own file does not say.
    """
    if library(estimator) != "sklearn":
        return booster(estimator, sample)
    name = type(estimator).__name__
    make = _SKLEARN.get(name)
    if make is hist_gradient_boosting and len(getattr(estimator, "classes_", (0, 1))) < 2:
        raise UnsupportedError(f"{name} has seen one class only")
    return None if make is None else make(estimator)


def parts(estimator: Any) -> Iterator[Any]:
    """The estimator and what is inside of it: steps, members, fitted copies."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (list, tuple)):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, np.ndarray) and one.dtype.kind == "O":
            waiting.extend(one.ravel().tolist())
        elif hasattr(one, "get_params") or type(one).__name__ == "_CalibratedClassifier":
            yield one
            # A tree of a forest is the forest's own affair.
            if not has_native(one):
                waiting.extend(vars(one).values())


def thresholds(estimator: Any, sample: Any) -> Thresholds:
    """The thresholds of all trees that get the rows as they are."""
    if hasattr(estimator, "steps"):
        return Thresholds.none()
    found = [Thresholds.none()]
    for part in parts(estimator):
        if not has_native(part) or getattr(part, "n_features_in_", None) != sample.shape[1]:
            continue
        made = native(part, sample) if hasattr(part, "predict") else None
        if made is not None:
            found.append(made.thresholds)
    return Thresholds(
        features=np.concatenate([t.features for t in found]),
        values=np.concatenate([t.values for t in found]),
    )
