"""CatBoost's estimators next to what CatBoost answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("onnx", reason="needs modelserve[convert]")
catboost = pytest.importorskip("catboost")

from convert_data import Data, assert_close, assert_labels, convert, odd_rows  # noqa: E402

D = Data()


def cat(kind: str, **settings: Any) -> Any:
    return getattr(catboost, kind)(
        iterations=8, depth=4, verbose=0, thread_count=1, allow_writing_files=False, **settings
    )


CLASSIFIERS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "three names": ({}, D.holed_iris, D.names),
    "two names": ({}, D.cancer, np.where(D.malign, "yes", "no")),
    "numbers": ({"auto_class_weights": "Balanced"}, D.holed_iris, D.species * 5),
    "lossguide": ({"grow_policy": "Lossguide"}, D.holed_iris, D.species),
    "depthwise": ({"grow_policy": "Depthwise"}, D.cancer, D.malign),
    "one against all": ({"loss_function": "MultiClassOneVsAll"}, D.holed_iris, D.species),
}
REGRESSORS: dict[str, tuple[dict[str, Any], Any]] = {
    "squares": ({}, D.progress),
    "absolute": ({"loss_function": "MAE"}, D.progress),
    "quantile": ({"loss_function": "Quantile:alpha=0.3"}, D.progress),
    "poisson": ({"loss_function": "Poisson"}, D.progress),
    "tweedie": ({"loss_function": "Tweedie:variance_power=1.5"}, D.progress),
    "two targets": ({"loss_function": "MultiRMSE"}, D.two_targets),
    "with its variance": ({"loss_function": "RMSEWithUncertainty"}, D.progress),
    "missing is large": ({"nan_mode": "Max"}, D.progress),
}


@pytest.mark.parametrize("ending", ["onnx", "json"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, ending: str, tmp_path: Path) -> None:
    settings, rows, target = CLASSIFIERS[name]
    estimator = cat("CatBoostClassifier", **settings).fit(rows, target)
    model = convert(estimator, tmp_path, rows, ending)
    for asked in (rows, odd_rows(rows)):
        assert_labels(model, asked, estimator.predict(asked))
        assert_close(model.predict_proba(asked), estimator.predict_proba(asked))


@pytest.mark.parametrize("ending", ["onnx", "json"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, ending: str, tmp_path: Path) -> None:
    settings, target = REGRESSORS[name]
    estimator = cat("CatBoostRegressor", **settings).fit(D.holed, target)
    model = convert(estimator, tmp_path, D.holed, ending)
    for asked in (D.holed, odd_rows(D.holed)):
        assert_close(model.predict_batch(asked).predictions, estimator.predict(asked))


def test_ranker(tmp_path: Path) -> None:
    estimator = cat("CatBoostRanker").fit(D.holed, D.grades, group_id=D.groups)
    model = convert(estimator, tmp_path, D.holed)
    assert_close(model.predict_batch(D.holed).predictions, estimator.predict(D.holed))


def plain(missing: bool = False) -> Any:
    """The frame with texts and whole numbers, as CatBoost wants them."""
    frame = D.frame(missing=False)
    frame["city"], frame["plan"] = frame["city"].astype(object), frame["plan"].astype(int)
    if missing:
        frame.loc[::7, "bmi"] = np.nan
    return frame


def test_categories(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = plain(missing=True)
    settings = {"cat_features": ["city", "plan"], "one_hot_max_size": 10}
    estimator = cat("CatBoostRegressor", **settings).fit(frame, D.by_category(frame))
    model = convert(estimator, tmp_path, frame)
    assert_close(model.predict_batch(frame).predictions, estimator.predict(frame))
    strange = {"bmi": 0.01, "city": "Elche", "plan": 77, "visits": 3}
    expected = estimator.predict(frame.iloc[:1].assign(**strange))
    assert_close(model.predict_batch([strange]).predictions, expected)
    with pytest.raises(ms.InvalidArgumentError, match="how categories become numbers"):
        ms.convert(estimator, tmp_path / "m.json", sample=frame)


def test_statistics_of_categories_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = plain()
    settings = {"cat_features": ["city", "plan"], "one_hot_max_size": 1}
    estimator = cat("CatBoostRegressor", **settings).fit(frame, D.by_category(frame))
    with pytest.raises(ms.UnsupportedError, match="one_hot_max_size"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=frame)
    with pytest.raises(ms.InvalidArgumentError, match="as a data frame"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=frame.to_numpy())
