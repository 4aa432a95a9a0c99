"""Tables in, columns of answers out: what the engines' adapters have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._native import Model, Predictions
from .casting import cast
from .errors import InvalidInputError

#: Bytes of features in one request to the model.
_REQUEST_BYTES = 32 << 20
#: Rows of one request to the model: the library's limit.
_REQUEST_ROWS = 65_536

#: Arrays of one length, by name.
Columns = Mapping[str, Any]


class ColumnScorer:
    """Answers for tables that are columns by name."""

    def __init__(
        self,
        model: Model,
        *,
        columns: Iterable[str] | None = None,
        prediction: str = "prediction",
        probability: str | None = "probability",
        class_probability: str | None = None,
    ) -> None:
        """`columns` are the features, in the model's order: by default the names that the model
        knows, else all columns of the table.

        `prediction` is the column of labels or values (`prediction_0`, `prediction_1`, ... for
        several values a row), `probability` that of the largest class probability, and
        `class_probability` the beginning of the names of one column for each class. None leaves a
        column out; models without probabilities have none.
        """
        self.model = model
        signature = model.signature
        names = list(columns) if columns is not None else signature.feature_names
        # What has one input a column is asked by name.
        by_name = len(signature.inputs) > 1 or signature.inputs[0].dtype in (None, "str")
        if names is None and by_name:
            names = [spec.name for spec in signature.inputs]
        self.names = names
        self.dtype = None if by_name else np.dtype(signature.inputs[0].dtype)
        self.prediction = prediction
        self.probability = probability
        self.class_probability = class_probability

    def features(self, table: Iterable[str]) -> list[str]:
        """The names of the features among the columns of a table.

        Raises `InvalidInputError` naming what a table lacks.
        """
        there = list(table)
        if self.names is None:
            return there
        missing = [name for name in self.names if name not in there]
        if missing:
            raise InvalidInputError(
                f"the table has no columns {', '.join(missing)}; it has {', '.join(there)}"
            )
        return self.names

    def score(self, table: Columns) -> dict[str, NDArray[Any]]:
        """The columns of answers for the rows of a table, in their order.

        Raises `InvalidInputError` naming the column and the value where the model's type does not
        hold a value: a fraction for an integer, a number that is out of range, a text.
        """
        arrays = {name: _array(table[name]) for name in self.features(table)}
        rows = len(next(iter(arrays.values()))) if arrays else 0
        width = 8 if self.dtype is None else self.dtype.itemsize
        step = max(1, min(_REQUEST_ROWS, _REQUEST_BYTES // (width * max(1, len(arrays)))))
        parts = [
            self._answers(self._ask({k: v[at : at + step] for k, v in arrays.items()}))
            for at in range(0, rows or 1, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _ask(self, arrays: dict[str, NDArray[Any]]) -> Predictions:
        if self.dtype is None:
            return self.model.predict_batch(arrays)
        rows = len(next(iter(arrays.values()))) if arrays else 0
        matrix = np.empty((rows, len(arrays)), self.dtype)
        for at, (name, column) in enumerate(arrays.items()):
            matrix[:, at] = cast(column, self.dtype, f"column '{name}'")
        return self.model.predict_batch(matrix)

    def _answers(self, answers: Predictions) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        values = np.asarray(answers.predictions)
        if values.ndim < 2 or values.shape[1] == 1:
            found[self.prediction] = values.reshape(len(values))
        else:
            for at in range(values.shape[1]):
                found[f"{self.prediction}_{at}"] = values[:, at]
        if (scores := answers.probabilities) is not None:
            if self.probability is not None:
                found[self.probability] = scores.max(axis=1, initial=0)
            if self.class_probability is not None:
                classes = answers.classes or range(scores.shape[1])
                for at, label in enumerate(classes):
                    found[f"{self.class_probability}{label}"] = scores[:, at]
        return found


def _array(column: Any) -> NDArray[Any]:
    """A column of NumPy, pandas or Arrow; what is missing among numbers is NaN."""
    if isinstance(column, np.ndarray):
        return column
    if hasattr(column, "to_numpy"):
        kind = getattr(getattr(column, "dtype", None), "kind", "O")
        if kind in "iuf" and getattr(column, "hasnans", False):
            return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        try:
            # Arrow's columns in chunks are put together; its other ones are not copied.
            return np.asarray(column.to_numpy(zero_copy_only=False))
        except TypeError:
            return np.asarray(column.to_numpy())
    return np.asarray(column)
