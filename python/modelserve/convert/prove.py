"""The comparison of a written model with its estimator."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .._native import Model
from ..errors import ConversionError, ModelServeError
from .ask import Answers, ask
from .samples import is_frame, is_text

#: Largest differences allowed, relative to the larger of 1 and the value, by the type of answers.
TOLERANCES = {4: 1e-6, 8: 1e-12}


def prove(
    estimator: Any, model: Model, rows: Any, tolerance: float | None, *, place: str = "the sample"
) -> None:
    """Asks both for these rows.

    Raises :class:`ConversionError` naming the row that differs most: labels have to be equal,
    numbers within ``tolerance`` (by default that of their type).
    """
    compare(answer(estimator, model, rows), model, rows, tolerance, place)


def answer(estimator: Any, model: Model, rows: Any) -> Answers:
    """The estimator's answers for the rows as the model sees them."""
    seen = asked(model, rows)
    task = model.signature.task
    if getattr(seen, "dtype", None) != np.float32:
        return ask(estimator, seen, task)
    try:
        return ask(estimator, seen, task)
    except ValueError:
        # Some estimators that were trained on doubles take nothing else (KMeans).
        return ask(estimator, seen.astype(np.float64), task)


def asked(model: Model, rows: Any) -> Any:
    """The rows as the model sees them: what it cannot see, the estimator shall not see either."""
    real = {spec.dtype for spec in model.signature.inputs} & {"float32", "float64"}
    dtype = np.dtype(np.float64 if "float64" in real else np.float32)
    if is_frame(rows):
        seen = rows.copy()
        for name in rows.columns:
            column = rows[name]
            if getattr(column.dtype, "kind", "O") == "f":
                seen[name] = column.astype(dtype).astype(column.dtype)
        return seen
    if hasattr(rows, "toarray") or is_text(rows):
        return rows
    return np.asarray(rows).astype(dtype)


def served(model: Model, rows: Any) -> Any:
    """The rows as the model takes them; a missing text is an empty one."""
    if hasattr(rows, "toarray"):
        return rows.toarray()
    if not is_frame(rows):
        array = np.asarray(rows)
        if is_text(rows):
            return array
        return array.astype(np.dtype(model.signature.inputs[0].dtype or np.float32))
    if len(model.signature.inputs) == 1:
        return rows
    columns: dict[str, Any] = {}
    for spec, name in zip(model.signature.inputs, rows.columns, strict=True):
        column = rows[name]
        if spec.dtype == "str":
            texts = column.astype(object)
            columns[spec.name] = texts.where(column.notna(), "").to_numpy()
        elif str(column.dtype) == "category":
            columns[spec.name] = column.astype(np.float64).to_numpy()
        else:
            columns[spec.name] = column.to_numpy()
    return columns


def compare(
    expected: Answers, model: Model, rows: Any, tolerance: float | None, place: str
) -> None:
    """Compares the model's answers with these."""
    try:
        answers = model.predict_batch(served(model, rows))
    except ModelServeError as error:
        raise ConversionError(
            f"the converted model does not answer {place}, which the estimator does: {error}"
        ) from error
    if expected.labels is not None:
        _labels_equal(expected.labels, np.asarray(answers.predictions), place)
    if expected.numbers is None:
        return
    got: Any = answers.predictions
    if expected.what == "probabilities":
        got = answers.probabilities
    elif expected.what == "scores":
        got = answers.scores
    if isinstance(got, dict):
        got = next(iter(got.values()))
    if got is None and expected.what == "scores":
        return
    _close(expected.numbers, got, tolerance, expected.what, place)


def _labels_equal(expected: NDArray[Any], got: NDArray[Any], place: str) -> None:
    if expected.shape != got.shape:
        _differ("labels", 0, expected.shape, got.shape, place)
    unequal = np.asarray(expected != got).reshape(len(expected), -1).any(axis=1)
    if unequal.any():
        row = int(np.argmax(unequal))
        _differ("labels", row, expected[row], got[row], place)


def _close(expected: Any, got: Any, tolerance: float | None, what: str, place: str) -> None:
    if got is None:
        _differ(what, 0, "some", "none", place)
    actual = np.asarray(got)
    if tolerance is None:
        tolerance = TOLERANCES.get(actual.dtype.itemsize, 1e-6)
    expected = np.asarray(expected, dtype=np.float64)
    actual = actual.astype(np.float64)
    if expected.size != actual.size or len(expected) != len(actual):
        _differ(what, 0, expected.shape, actual.shape, place)
    if expected.size == 0:
        return
    expected = expected.reshape(len(expected), -1)
    actual = actual.reshape(len(actual), -1)
    with np.errstate(invalid="ignore"):
        error = np.abs(expected - actual) / np.maximum(1.0, np.abs(expected))
    error[np.isnan(expected) & np.isnan(actual)] = 0.0
    error[expected == actual] = 0.0
    worst = np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(axis=1)
    row = int(np.argmax(worst))
    if worst[row] > tolerance:
        by = f" ({worst[row]:.2g} apart, {tolerance:.2g} is allowed)"
        _differ(what, row, expected[row], actual[row], place, by)


def _differ(what: str, row: int, expected: Any, got: Any, place: str, by: str = "") -> NoReturn:
    error = ConversionError(
        f"the converted model's {what} differ, most at row {row} of {place}: "
        f"expected {expected}, got {got}{by}"
    )
    error.row, error.expected, error.got = row, expected, got
    raise error
