"""Boosters as their own files and inside ONNX files, next to what their libraries answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("onnx", reason="needs modelserve[convert]")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")

from convert_data import Data, assert_close, assert_labels, convert, odd_rows  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

D = Data()
Fit = tuple[Callable[[], Any], Any, Any, dict[str, Any]]
_EARLY = {"eval_set": [(D.cancer[300:], D.malign[300:])]}


def xgb(kind: str, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(xgboost, kind)(n_estimators=8, n_jobs=1, **settings)


def lgb(kind: str, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(lightgbm, kind)(n_estimators=8, n_jobs=1, verbose=-1, **settings)


XGBOOST: dict[str, Fit] = {
    "three classes": (xgb("XGBClassifier"), D.holed_iris, D.species, {}),
    "two classes": (xgb("XGBClassifier", base_score=0.3), D.cancer, D.malign, {}),
    "weights": (
        xgb("XGBRegressor"),
        D.holed,
        D.progress,
        {"sample_weight": D.weights},
    ),
    "stopped early": (
        xgb("XGBClassifier", early_stopping_rounds=2, learning_rate=1.0),
        D.cancer[:300],
        D.malign[:300],
        {**_EARLY, "verbose": False},
    ),
    "hinge": (xgb("XGBClassifier", objective="binary:hinge"), D.cancer, D.malign, {}),
    "random forest": (xgb("XGBRFClassifier"), D.holed_iris, D.species, {}),
    "random forest, two classes": (xgb("XGBRFClassifier"), D.cancer, D.malign, {}),
    "random forest, values": (xgb("XGBRFRegressor"), D.holed, D.progress, {}),
    "dart": (xgb("XGBRegressor", booster="dart", rate_drop=0.4), D.holed, D.progress, {}),
    "dart, classes": (
        xgb("XGBClassifier", booster="dart", rate_drop=0.4),
        D.holed_iris,
        D.species,
        {},
    ),
    "linear": (xgb("XGBRegressor", booster="gblinear"), D.diabetes, D.progress, {}),
    "exact": (xgb("XGBRegressor", tree_method="exact"), D.diabetes, D.progress, {}),
    "lossguide": (
        xgb("XGBRegressor", grow_policy="lossguide", max_leaves=9, max_depth=0),
        D.holed,
        D.progress,
        {},
    ),
    "monotonic": (
        xgb("XGBRegressor", monotone_constraints=(1,) * 10),
        D.diabetes,
        D.progress,
        {},
    ),
    "a tree for each target": (xgb("XGBRegressor"), D.holed, D.two_targets, {}),
    "trees for all targets": (
        xgb("XGBRegressor", multi_strategy="multi_output_tree"),
        D.diabetes,
        D.two_targets,
        {},
    ),
    "poisson": (xgb("XGBRegressor", objective="count:poisson"), D.holed, D.progress, {}),
    "gamma": (xgb("XGBRegressor", objective="reg:gamma"), D.holed, D.progress, {}),
    "tweedie": (xgb("XGBRegressor", objective="reg:tweedie"), D.holed, D.progress, {}),
    "logistic": (xgb("XGBRegressor", objective="reg:logistic"), D.holed, D.share, {}),
    "quantiles": (
        xgb("XGBRegressor", objective="reg:quantileerror", quantile_alpha=[0.2, 0.8]),
        D.diabetes,
        D.progress,
        {},
    ),
    "absolute error": (xgb("XGBRegressor", objective="reg:absoluteerror"), D.holed, D.progress, {}),
    "cox": (xgb("XGBRegressor", objective="survival:cox"), D.holed, D.share, {}),
    "ranker": (xgb("XGBRanker"), D.holed, D.grades, {"qid": D.groups}),
    "one row": (xgb("XGBRegressor"), D.diabetes[:1], D.progress[:1], {}),
    "a split of categories": (
        xgb("XGBRegressor", feature_types=list("qcqqcqqqqq"), enable_categorical=True),
        np.nan_to_num(D.codes),
        D.progress,
        {},
    ),
}
LIGHTGBM: dict[str, Fit] = {
    "three classes": (lgb("LGBMClassifier"), D.holed_iris, D.names, {}),
    "two classes": (lgb("LGBMClassifier", is_unbalance=True), D.cancer, D.malign * 2 + 1, {}),
    "one against all": (
        lgb("LGBMClassifier", objective="multiclassova"),
        D.holed_iris,
        D.species,
        {},
    ),
    "stopped early": (
        lambda: lightgbm.LGBMClassifier(
            n_estimators=60, learning_rate=0.9, early_stopping_round=2, n_jobs=1, verbose=-1
        ),
        D.cancer[:300],
        D.malign[:300],
        _EARLY,
    ),
    "dart": (lgb("LGBMRegressor", boosting_type="dart"), D.holed, D.progress, {}),
    "forest": (
        lgb("LGBMClassifier", boosting_type="rf", bagging_fraction=0.6, bagging_freq=1),
        D.cancer,
        D.malign,
        {},
    ),
    "forest, values": (
        lgb("LGBMRegressor", boosting_type="rf", bagging_fraction=0.6, bagging_freq=1),
        D.holed,
        D.progress,
        {},
    ),
    "linear leaves": (lgb("LGBMRegressor", linear_tree=True), D.holed, D.progress, {}),
    "zero is missing": (
        lgb("LGBMRegressor", zero_as_missing=True),
        np.nan_to_num(D.holed),
        D.progress,
        {},
    ),
    "categories": (
        lgb("LGBMRegressor", min_child_samples=3),
        D.codes,
        D.progress,
        {"categorical_feature": [1, 4]},
    ),
    "weights": (lgb("LGBMRegressor"), D.holed, D.progress, {"sample_weight": D.weights}),
    "square root": (lgb("LGBMRegressor", reg_sqrt=True), D.holed, D.progress, {}),
    "quantile": (lgb("LGBMRegressor", objective="quantile"), D.holed, D.progress, {}),
    "poisson": (lgb("LGBMRegressor", objective="poisson"), D.holed, D.progress, {}),
    "tweedie": (lgb("LGBMRegressor", objective="tweedie"), D.holed, D.progress, {}),
    "cross entropy": (lgb("LGBMRegressor", objective="cross_entropy"), D.holed, D.share, {}),
    "lambda": (lgb("LGBMRegressor", objective="cross_entropy_lambda"), D.holed, D.share, {}),
    "ranker": (lgb("LGBMRanker"), D.holed, D.grades, {"group": np.bincount(D.groups)}),
    "no split": (lgb("LGBMRegressor", min_child_samples=9999), D.holed, D.progress, {}),
}


def answers(model: ms.Model, rows: Any) -> Any:
    """Probabilities where there are some, else values."""
    got = model.predict_batch(rows)
    return got.predictions if got.probabilities is None else got.probabilities


def xgboost_says(estimator: Any, rows: Any) -> Any:
    """What the booster answers, its best iteration respected."""
    booster = estimator.get_booster()
    matrix = xgboost.DMatrix(
        rows,
        feature_types=booster.feature_types,
        missing=estimator.missing,
        enable_categorical=True,
    )
    best = booster.attr("best_iteration")
    raw = booster.predict(matrix, iteration_range=(0, 0 if best is None else int(best) + 1))
    binary = hasattr(estimator, "classes_") and raw.ndim == 1
    return np.stack([1 - raw, raw], axis=1) if binary else raw


@pytest.mark.parametrize("name", XGBOOST)
def test_xgboost_bit_for_bit(name: str, tmp_path: Path) -> None:
    make, rows, target, fitted = XGBOOST[name]
    estimator = make().fit(rows, target, **fitted)
    for ending in ("onnx", "ubj", "json"):
        model = convert(estimator, tmp_path, rows, ending)
        for asked in (rows, rows[:1]) if "categories" in name else (rows, odd_rows(rows)):
            got = np.asarray(answers(model, asked))
            expected = xgboost_says(estimator, asked)
            assert got.dtype == np.float32
            # Exponentials are those of the machine's own library in both.
            np.testing.assert_array_equal(got, expected.reshape(got.shape))
            if hasattr(estimator, "classes_"):
                assert_labels(model, asked, estimator.predict(asked))


@pytest.mark.parametrize("name", LIGHTGBM)
def test_lightgbm_bit_for_bit(name: str, tmp_path: Path) -> None:
    make, rows, target, fitted = LIGHTGBM[name]
    estimator = make().fit(rows, target, **fitted)
    numbered = getattr(estimator, "classes_", np.arange(2))
    native = np.array_equal(numbered, np.arange(len(numbered)))
    for ending in ("onnx", "txt") if native else ("onnx",):
        model = convert(estimator, tmp_path, rows, ending)
        infinite = np.where(odd_rows(rows, 1) > np.nanmax(rows, axis=0), np.inf, odd_rows(rows, 1))
        for asked in (rows, odd_rows(rows), infinite):
            classes = hasattr(estimator, "classes_")
            expected = estimator.predict_proba(asked) if classes else estimator.predict(asked)
            got = np.asarray(answers(model, asked))
            assert got.dtype == np.float64
            np.testing.assert_array_equal(got, expected.reshape(got.shape))
            if classes:
                assert_labels(model, asked, estimator.predict(asked))


def test_boosters_without_estimator(tmp_path: Path) -> None:
    bounds = xgboost.DMatrix(D.holed)
    bounds.set_float_info("label_lower_bound", D.progress)
    bounds.set_float_info("label_upper_bound", np.where(D.progress > 200, np.inf, D.progress))
    survival = xgboost.train({"objective": "survival:aft", "nthread": 1}, bounds, 8)
    model = convert(survival, tmp_path, D.holed)
    got = np.asarray(answers(model, D.holed)).reshape(-1)
    np.testing.assert_array_equal(got, survival.predict(xgboost.DMatrix(D.holed)))
    three = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    classes = xgboost.train(three, xgboost.DMatrix(D.iris, D.species), 8)
    model = convert(classes, tmp_path, D.iris)
    np.testing.assert_array_equal(
        model.predict_proba(D.iris), classes.predict(xgboost.DMatrix(D.iris))
    )
    booster = lgb("LGBMClassifier")().fit(D.cancer, D.malign).booster_
    model = convert(booster, tmp_path, D.cancer)
    np.testing.assert_array_equal(model.predict_proba(D.cancer)[:, 1], booster.predict(D.cancer))


@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing values"])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_frames_with_categories(library: str, missing: bool, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = D.frame(missing=missing)
    make = (
        xgb("XGBRegressor", enable_categorical=True, max_cat_to_onehot=1)
        if library == "xgboost"
        else lgb("LGBMRegressor", min_child_samples=2)
    )
    estimator = make().fit(frame, D.by_category(frame))
    model = convert(estimator, tmp_path, frame)
    rows = {
        "bmi": frame["bmi"].to_numpy(),
        "city": frame["city"].astype(object).fillna("").to_numpy(),
        "plan": frame["plan"].astype(float).to_numpy(),
        "visits": frame["visits"].to_numpy(),
    }
    got = np.asarray(model.predict_batch(rows).predictions).reshape(-1)
    np.testing.assert_array_equal(got, estimator.predict(frame))
    for ending in ("ubj", "txt")[library == "lightgbm" :][:1]:
        with pytest.raises(ms.InvalidArgumentError, match=r"how categories become numbers.*\.onnx"):
            ms.convert(estimator, tmp_path / f"m.{ending}", sample=frame)


def test_a_number_that_means_missing(tmp_path: Path) -> None:
    rows = np.where(np.isnan(D.holed), -999.0, D.holed)
    estimator = xgb("XGBRegressor", missing=-999.0)().fit(rows, D.progress)
    model = convert(estimator, tmp_path, rows)
    for asked in (rows, D.holed):
        got = np.asarray(answers(model, asked)).reshape(-1)
        np.testing.assert_array_equal(got, estimator.predict(asked))
    with pytest.raises(ms.InvalidArgumentError, match=r"-999\.0 means a missing value"):
        ms.convert(estimator, tmp_path / "m.ubj", sample=rows)


def test_labels_that_a_file_would_lose(tmp_path: Path) -> None:
    estimator = lgb("LGBMClassifier")().fit(D.iris, D.names)
    with pytest.raises(ms.InvalidArgumentError, match=r"class labels \(setosa.*\.onnx"):
        ms.convert(estimator, tmp_path / "m.txt", sample=D.iris)
    assert not list(tmp_path.iterdir())


def test_objectives_of_ones_own(tmp_path: Path) -> None:
    def squares(target: Any, raw: Any) -> Any:
        return raw - target, np.ones_like(raw)

    values = xgb("XGBRegressor", objective=squares)().fit(D.holed, D.progress)
    got = np.asarray(answers(convert(values, tmp_path, D.holed), D.holed)).reshape(-1)
    np.testing.assert_array_equal(got, values.predict(D.holed))
    labels = lgb("LGBMClassifier", objective=squares)().fit(D.cancer, D.malign)
    with pytest.raises(ms.UnsupportedError, match="objective of your own"):
        ms.convert(labels, tmp_path / "c.onnx", sample=D.cancer)


def test_several_labels_a_row_are_refused(tmp_path: Path) -> None:
    target = np.stack([D.species > 0, D.species > 1], axis=1).astype(int)
    estimator = xgb("XGBClassifier")().fit(D.iris, target)
    with pytest.raises((ms.UnsupportedError, ms.ConversionError)):
        ms.convert(estimator, tmp_path / "c.onnx", sample=D.iris)


def test_ten_thousand_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 10_000)).astype(np.float32)
    target = rows[:, 17] + rows[:, 9_999]
    for make in (xgb("XGBRegressor"), lgb("LGBMRegressor", min_child_samples=2)):
        estimator = make().set_params(n_estimators=2).fit(rows, target)
        model = convert(estimator, tmp_path, rows)
        assert_close(answers(model, rows), estimator.predict(rows))


def test_names_with_spaces(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    # LightGBM writes `_` for them in its file.
    frame = pd.DataFrame(D.wine, columns=[f"part {i}" for i in range(13)])
    estimator = lgb("LGBMClassifier")().fit(frame, D.cultivar)
    model = convert(estimator, tmp_path, frame)
    assert model.signature.feature_names == list(frame.columns)
    assert_labels(model, frame, estimator.predict(frame))


def test_sparse_rows(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = np.where(D.wine > np.median(D.wine, axis=0), D.wine, 0.0)
    for make in (xgb("XGBClassifier"), lgb("LGBMClassifier")):
        estimator = make().fit(sparse.csr_matrix(rows), D.cultivar)
        model = convert(estimator, tmp_path, sparse.csr_matrix(rows))
        # The file takes dense rows; to XGBoost their zeros are what a sparse matrix leaves out.
        expected = estimator.predict_proba(sparse.csr_matrix(rows))
        np.testing.assert_array_equal(model.predict_proba(rows), expected)
    estimator = xgb("XGBClassifier")().fit(sparse.csr_matrix(rows), D.cultivar)
    with pytest.raises(ms.InvalidArgumentError, match=r"0\.0 means a missing value"):
        ms.convert(estimator, tmp_path / "m.ubj", sample=sparse.csr_matrix(rows))


def test_labels_with_letters_beyond_ascii(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    frame = D.frame(missing=False)
    estimator = xgb("XGBRegressor", enable_categorical=True)().fit(frame, D.by_category(frame))
    fewer = frame[frame["city"] != "Brno"]
    fewer = fewer.assign(city=fewer["city"].cat.remove_unused_categories())
    with pytest.raises(ms.UnsupportedError, match="beyond ASCII"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=fewer)
