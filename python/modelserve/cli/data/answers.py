"""A model's answers as named columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._native import Predictions


def answer_columns(answers: Predictions) -> dict[str, NDArray[Any]]:
    """`prediction`, and `probability_CLASS` or `score_CLASS` where the model has those.

    Several values a row are `prediction_0`, `prediction_1`, …; the outputs of a model that is
    neither classifier nor regressor have their own names.
    """
    columns: dict[str, NDArray[Any]] = {}
    predictions = answers.predictions
    if isinstance(predictions, dict):
        for name, array in predictions.items():
            _spread(columns, name, np.asarray(array), None)
    else:
        _spread(columns, "prediction", np.asarray(predictions), None)
    if answers.probabilities is not None:
        _spread(columns, "probability", answers.probabilities, answers.classes)
    elif answers.scores is not None:
        _spread(columns, "score", answers.scores, answers.classes)
    return columns


def _spread(columns: dict[str, NDArray[Any]], name: str, array: NDArray[Any], classes: Any) -> None:
    if array.ndim < 2 or (array.shape[1:] == (1,) and classes is None):
        columns[name] = array.reshape(-1)
        return
    # Not -1, which cannot be told of no rows.
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    labels = classes if classes is not None and len(classes) == flat.shape[1] else None
    for k in range(flat.shape[1]):
        columns[f"{name}_{labels[k] if labels else k}"] = flat[:, k]


def shortest(column: NDArray[Any]) -> list[Any]:
    """The values as Python has them; a float32 as the shortest text that reads back as it."""
    if column.dtype == np.float32 or column.dtype == np.float16:
        exact: list[Any] = column.astype("U").astype(np.float64).tolist()
        return exact
    values: list[Any] = column.tolist()
    return values
