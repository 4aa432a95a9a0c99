"""Trained estimators to ONNX files, checked against the estimator's own answers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._native import Model, load
from .errors import ConversionError

_OPSET = {"": 18, "ai.onnx.ml": 3}


def convert(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    sample: Any,
    tolerance: float = 1e-5,
) -> Model:
    """Write a trained estimator as an ONNX file and prove it on a sample.

    ``estimator`` is a scikit-learn estimator or pipeline, or an XGBoost or LightGBM estimator
    (alone or as a pipeline's last step). ``sample`` holds rows as the estimator takes them (an
    array or a DataFrame); the written model has to give every row of it the same label, and
    probabilities or values within ``tolerance`` (relative to the larger of 1 and the value).
    Otherwise :class:`ConversionError` says which row differs most, and no file is left.

    Returns the loaded model.
    """
    onnx_model = _to_onnx(estimator, sample)
    _describe(onnx_model, estimator, sample)
    target = Path(path)
    handle, name = tempfile.mkstemp(suffix=".onnx", prefix=".convert-", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(onnx_model.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        _compare(estimator, load(temporary), sample, tolerance)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return load(target)


def _missing(error: ImportError) -> ImportError:
    return ImportError(
        f"conversion needs {error.name or error}, which is not installed: "
        'pip install "modelserve[convert]"',
        name=error.name,
    )


def _is_frame(sample: Any) -> bool:
    return hasattr(sample, "columns") and hasattr(sample, "iloc")


def _library(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]


def _final(estimator: Any) -> Any:
    """The last step of a pipeline, or the estimator itself."""
    steps = getattr(estimator, "steps", None)
    return _final(steps[-1][1]) if steps else estimator


def _to_onnx(estimator: Any, sample: Any) -> Any:
    try:
        import skl2onnx  # noqa: F401

        library = _library(estimator)
        if library in ("xgboost", "lightgbm"):
            return _boosted(estimator, sample)
        return _sklearn(estimator, sample)
    except ImportError as error:
        raise _missing(error) from error


def _width(sample: Any) -> int:
    shape = np.shape(sample)
    if len(shape) != 2:
        raise ValueError(f"sample is a matrix of rows, not an array of shape {shape}")
    return int(shape[1])


def _boosted(estimator: Any, sample: Any) -> Any:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    initial = [("X", FloatTensorType([None, _width(sample)]))]
    if _library(estimator) == "xgboost":
        return onnxmltools.convert_xgboost(
            _positional(estimator), initial_types=initial, target_opset=15
        )
    return onnxmltools.convert_lightgbm(
        estimator, initial_types=initial, target_opset=15, zipmap=False
    )


def _positional(estimator: Any) -> Any:
    """An XGBoost estimator without feature names, as the converter wants it (f0, f1, …)."""
    booster = estimator.get_booster()
    if booster.feature_names is None:
        return estimator
    import copy

    estimator = copy.deepcopy(estimator)
    estimator.get_booster().feature_names = None
    return estimator


def _register_boosters(final: Any) -> None:
    """Teach skl2onnx the boosted-tree estimators that end a pipeline."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    library = _library(final)
    if library == "xgboost":
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        converter = convert_xgboost
    elif library == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        converter = convert_lightgbm
    else:
        return
    classifier = hasattr(final, "predict_proba")
    update_registered_converter(
        type(final),
        f"{library.capitalize()}{type(final).__name__}",
        calculate_linear_classifier_output_shapes
        if classifier
        else calculate_linear_regressor_output_shapes,
        converter,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifier else {},
    )


def _sklearn(estimator: Any, sample: Any) -> Any:
    from skl2onnx import to_onnx

    final = _final(estimator)
    _register_boosters(final)
    inputs = _inputs(sample)
    # Which options exist depends on the estimator: a NameError says that one does not.
    choices: list[dict[str, bool] | None] = [None]
    if hasattr(final, "classes_"):
        choices = [{"zipmap": False}, {"raw_scores": False}, {"nocl": False}, None]
    refused: NameError | None = None
    with _integer_flags():
        for choice in choices:
            options = None if choice is None else {id(final): choice}
            try:
                return to_onnx(
                    estimator, initial_types=inputs, options=options, target_opset=_OPSET
                )
            except NameError as error:
                refused = error
    raise refused or AssertionError("no conversion was tried")


@contextmanager
def _integer_flags() -> Iterator[None]:
    """Lets skl2onnx write missing-value flags, which it gives as bools and onnx wants as ints."""
    import onnx

    original = onnx.helper.make_attribute

    def make_attribute(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and any(isinstance(v, (bool, np.bool_)) for v in value):
            value = [int(v) for v in value]
        return original(key, value, *args, **kwargs)

    onnx.helper.make_attribute = make_attribute
    try:
        yield
    finally:
        onnx.helper.make_attribute = original


def _inputs(sample: Any) -> list[tuple[str, Any]]:
    """One wide float32 input, or one input a column for a DataFrame of mixed types."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    if not _is_frame(sample) or _is_numeric(sample):
        array = np.asarray(sample)
        if array.ndim == 1:
            return [("X", StringTensorType([None]))]
        if array.dtype.kind in "OUST":
            return [("X", StringTensorType([None, array.shape[1]]))]
        return [("X", FloatTensorType([None, _width(sample)]))]
    types = {"i": Int64TensorType, "u": Int64TensorType, "b": Int64TensorType}
    inputs = []
    for name in sample.columns:
        kind = sample[name].to_numpy().dtype.kind
        ty = FloatTensorType if kind == "f" else types.get(kind, StringTensorType)
        inputs.append((str(name), ty([None, 1])))
    return inputs


def _is_numeric(frame: Any) -> bool:
    return all(frame[name].to_numpy().dtype.kind in "fiub" for name in frame.columns)


def _describe(onnx_model: Any, estimator: Any, sample: Any) -> None:
    """Say in the file what the answers mean."""
    facts: dict[str, str] = {}
    task = _task(_final(estimator))
    if task is not None:
        facts["modelserve.task"] = task
    classes = getattr(estimator, "classes_", None)
    if task == "classifier" and isinstance(classes, np.ndarray):
        facts["modelserve.classes"] = json.dumps(
            [c if isinstance(c, str) else int(c) for c in classes.tolist()]
        )
        if hasattr(estimator, "predict_proba"):
            facts["modelserve.output_kind"] = "probabilities"
    names = _feature_names(estimator, sample)
    if names is not None and len(onnx_model.graph.input) == 1:
        facts["modelserve.feature_names"] = json.dumps(names)
    for key, value in facts.items():
        entry = onnx_model.metadata_props.add()
        entry.key, entry.value = key, value


def _task(estimator: Any) -> str | None:
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
    tasks = {
        "classifier": "classifier",
        "regressor": "regressor",
        "outlier_detector": "outlier",
        "clusterer": "cluster",
    }
    if kind in tasks:
        return tasks[kind]
    return "transform" if hasattr(estimator, "transform") else None


def _feature_names(estimator: Any, sample: Any) -> list[str] | None:
    # XGBoost answers with an error, not an absent attribute, where there are none.
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and _is_frame(sample):
        names = sample.columns
    return None if names is None else [str(n) for n in names]


def _rows(model: Model, sample: Any) -> Any:
    if _is_frame(sample):
        return sample
    array = np.asarray(sample)
    return array if array.dtype.kind in "OUST" else array.astype(np.float32)


def _compare(estimator: Any, model: Model, sample: Any, tolerance: float) -> None:
    answers = model.predict_batch(_rows(model, sample))
    # The file computes in float32: what it cannot see, the estimator shall not see either.
    asked = sample
    if not _is_frame(sample) and np.asarray(sample).dtype.kind not in "OUST":
        asked = np.asarray(sample).astype(np.float32)
    task = model.signature.task
    if task in ("classifier", "multilabel", "cluster", "outlier"):
        _labels_equal(np.asarray(estimator.predict(asked)), np.asarray(answers.predictions))
        if task == "classifier" and hasattr(estimator, "predict_proba"):
            expected = estimator.predict_proba(asked)
            _close(expected, answers.probabilities, tolerance, "probabilities")
    elif hasattr(estimator, "predict"):
        _close(estimator.predict(asked), answers.predictions, tolerance, "values")
    else:
        expected = estimator.transform(asked)
        if hasattr(expected, "toarray"):
            expected = expected.toarray()
        got = answers.predictions
        if isinstance(got, dict):
            got = next(iter(got.values()))
        _close(expected, got, tolerance, "values")


def _labels_equal(expected: NDArray[Any], got: NDArray[Any]) -> None:
    if expected.shape != got.shape:
        _differ("labels", 0, expected.shape, got.shape)
    unequal = np.asarray(expected != got).reshape(len(expected), -1).any(axis=1)
    if unequal.any():
        row = int(np.argmax(unequal))
        _differ("labels", row, expected[row], got[row])


def _close(expected: Any, got: Any, tolerance: float, what: str) -> None:
    if got is None:
        _differ(what, 0, "some", "none")
    expected = np.asarray(expected, dtype=np.float64)
    actual = np.asarray(got, dtype=np.float64)
    if expected.size != actual.size or len(expected) != len(actual):
        _differ(what, 0, expected.shape, actual.shape)
    if expected.size == 0:
        return
    expected = expected.reshape(len(expected), -1)
    actual = actual.reshape(len(actual), -1)
    error = np.abs(expected - actual) / np.maximum(1.0, np.abs(expected))
    error[np.isnan(expected) & np.isnan(actual)] = 0.0
    error[expected == actual] = 0.0
    worst = np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(axis=1)
    row = int(np.argmax(worst))
    if worst[row] > tolerance:
        _differ(what, row, expected[row], actual[row])


def _differ(what: str, row: int, expected: Any, got: Any) -> None:
    error = ConversionError(
        f"the converted model's {what} differ, most at row {row} of the sample: "
        f"expected {expected}, got {got}"
    )
    error.row, error.expected, error.got = row, expected, got
    raise error
