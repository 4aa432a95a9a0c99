"""Trained estimators to model files, checked against the estimator's own answers."""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._native import Model, load
from ..errors import ConversionError, InvalidArgumentError, UnsupportedError
from . import exact
from .boosters import ENDINGS, native_file
from .container import container
from .corners import corners
from .describe import describe
from .native import Native
from .prove import answer, compare, prove, served
from .refusals import needs_double, refuse
from .samples import final, is_frame, is_text, library
from .sklearn import sklearn

__all__ = ["convert"]


def convert(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    sample: Any,
    tolerance: float | None = None,
    dtype: Literal["float32", "float64"] | None = None,
) -> Model:
    """Write a trained estimator as a model file and prove it on a sample.

    ``estimator`` is a scikit-learn estimator or pipeline, an estimator of XGBoost, LightGBM or
    CatBoost (alone or inside of these), or a ``Booster`` of XGBoost or LightGBM. ``sample`` holds
    rows as the estimator takes them (an array or a data frame). A ``path`` that ends in ``.ubj``
    or ``.json`` (XGBoost), ``.txt`` (LightGBM) or ``.json`` (CatBoost) gets the library's own
    file, any other an ONNX file.

    The written model has to give every row of the sample the same label, and numbers within
    ``tolerance``, relative to the larger of 1 and the value: by default 1e-6 where they are
    float32 and 1e-12 where they are doubles. The same is asked of rows made of the sample: on
    the thresholds of trees and next to them, with missing and infinite values. Otherwise
    :class:`ConversionError` says which row differs most, and no file is left.

    ``dtype`` is the type in which what is no tree is computed: float32 by default, and double
    before the trees of a pipeline. Such a file answers as the estimator does for rows of that
    type.

    Raises :class:`UnsupportedError` for what is known to be converted wrongly, saying why;
    :class:`InvalidArgumentError` for a file that would lose what the estimator knows;
    ``ImportError`` naming the package that is missing.

    Returns the loaded model.
    """
    if dtype not in (None, "float32", "float64"):
        raise InvalidArgumentError(f"dtype is '{dtype}', expected 'float32' or 'float64'")
    target = Path(path)
    try:
        if target.suffix in ENDINGS.get(library(estimator), ()):
            made = exact.native(estimator, sample)
            assert made is not None
            content = native_file(_zeros(made, sample), target.suffix)
            return _write(content, target, estimator, sample, tolerance, made)
        if exact.has_native(estimator):
            made = exact.native(estimator, sample)
            if made is not None:
                made = _zeros(made, sample)
                return _write(
                    _finished(container(made, sample), estimator, sample, made),
                    target,
                    estimator,
                    sample,
                    tolerance,
                    made,
                )
        return _through_skl2onnx(estimator, target, sample, tolerance, dtype)
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> ImportError:
    return ImportError(
        f"conversion needs {error.name or error}, which is not installed: "
        'pip install "modelserve[convert]"',
        name=error.name,
    )


def _zeros(native: Native, rows: Any) -> Native:
    """XGBoost takes what a sparse matrix leaves out, its zeros, for missing."""
    if native.attributes.get("format") == "xgboost" and hasattr(rows, "tocsr"):
        return replace(native, missing=(*native.missing, 0.0))
    return native


def _finished(onnx_model: Any, estimator: Any, sample: Any, native: Native | None) -> bytes:
    describe(onnx_model, estimator, sample, native)
    content: bytes = onnx_model.SerializeToString()
    return content


def _through_skl2onnx(
    estimator: Any, target: Path, sample: Any, tolerance: float | None, dtype: str | None
) -> Model:
    refuse(estimator)
    last = final(estimator)
    trees = any(exact.has_native(part) for part in exact.parts(estimator))
    before = _before(estimator, sample) if last is not estimator else None
    sparse = before is not None and hasattr(before, "tocsr")
    double = dtype == "float64" or (dtype is None and (trees or needs_double(estimator)))
    made = None
    if before is not None and exact.has_native(last):
        made = exact.native(last, before)
    for wide in (True, False) if double and dtype is None else (double,):
        try:
            onnx_model = sklearn(estimator, sample, double=wide, zeros_missing=sparse)
            content = _finished(onnx_model, estimator, sample, None)
            # Types that do not fit show when the graph runs.
            trial = load(content)
            trial.predict_batch(served(trial, sample))
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            # Some of skl2onnx's converters know no doubles.
            if wide and dtype is None:
                continue
            if isinstance(error, (InvalidArgumentError, UnsupportedError)):
                raise
            name, reason = type(estimator).__name__, str(error).partition("\n")[0]
            raise UnsupportedError(f"skl2onnx does not convert this {name}: {reason}") from error
        break
    if made is not None and not made.categories:
        _prove_last(last, _zeros(made, before), before, tolerance)
    try:
        return _write(content, target, estimator, sample, tolerance, None)
    except ConversionError as error:
        if not wide and dtype is None:
            error.args = (f"{error}; dtype='float64' computes in double",)
        raise


def _before(estimator: Any, rows: Any) -> Any:
    """The rows that the last step of a pipeline gets."""
    for _, step in estimator.steps[:-1]:
        if step is not None and step != "passthrough":
            rows = step.transform(rows)
    last = estimator.steps[-1][1]
    return _before(last, rows) if hasattr(last, "steps") else rows


def _prove_last(last: Any, native: Native, rows: Any, tolerance: float | None) -> None:
    """Proves the last step alone, whose thresholds rows of the sample may miss."""
    model = load(_finished(container(native, rows), last, rows, native))
    prove(last, model, rows, tolerance, place="the last step's rows")
    _corners(last, model, native, rows, tolerance)


def _write(
    content: bytes,
    target: Path,
    estimator: Any,
    sample: Any,
    tolerance: float | None,
    native: Native | None,
) -> Model:
    """Puts the file into its place once it is proved."""
    handle, name = tempfile.mkstemp(
        suffix=target.suffix or ".onnx", prefix=".convert-", dir=target.parent
    )
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        model = load(temporary)
        prove(estimator, model, sample, tolerance)
        _corners(estimator, model, native, sample, tolerance)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return load(target)


def _corners(
    estimator: Any, model: Model, native: Native | None, sample: Any, tolerance: float | None
) -> None:
    """Proves the model on rows made of the sample, where the estimator takes them."""
    if not is_frame(sample):
        # A sparse matrix of such rows would leave out what the estimator shall see.
        if hasattr(sample, "tocsr") or is_text(sample):
            return
        sample = np.asarray(sample)
    thresholds = exact.thresholds(estimator, sample) if native is None else native.thresholds
    for place, rows in corners(sample, native, thresholds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = answer(estimator, model, rows)
            except Exception:
                # The estimator takes no such rows: there is no answer to compare with.
                continue
        compare(expected, model, rows, tolerance, f"{place} made of the sample")
