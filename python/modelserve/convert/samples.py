"""What rows and estimators are, whichever library they come from."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_frame(sample: Any) -> bool:
    """Whether it is a data frame."""
    return hasattr(sample, "columns") and hasattr(sample, "iloc")


def is_numeric(frame: Any) -> bool:
    """Whether each column of a data frame holds numbers."""
    return all(
        str(frame[name].dtype) != "category" and frame[name].to_numpy().dtype.kind in "fiub"
        for name in frame.columns
    )


def is_text(sample: Any) -> bool:
    """Whether an array holds texts or mixed objects."""
    return np.asarray(sample).dtype.kind in "OUST"


def width(sample: Any) -> int:
    """Columns of a matrix of rows. Raises ``ValueError`` for another shape."""
    shape = np.shape(sample)
    if len(shape) != 2:
        raise ValueError(f"sample is a matrix of rows, not an array of shape {shape}")
    return int(shape[1])


def library(estimator: Any) -> str:
    """The package that an estimator's class (or the class below it) comes from."""
    for cls in type(estimator).__mro__:
        package = str(cls.__module__).partition(".")[0]
        if package in ("xgboost", "lightgbm", "catboost", "sklearn"):
            return package
    return type(estimator).__module__.partition(".")[0]


def final(estimator: Any) -> Any:
    """The last step of a pipeline, or the estimator itself."""
    steps = getattr(estimator, "steps", None)
    return final(steps[-1][1]) if steps else estimator
