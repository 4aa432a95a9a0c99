"""Pipelines, and estimators of estimators: what comes before trees is computed in double."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("skl2onnx", reason="needs modelserve[convert]")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
catboost = pytest.importorskip("catboost")

from convert_data import Data, assert_close, assert_labels, convert, odd_rows  # noqa: E402
from sklearn import (  # noqa: E402
    calibration,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    multioutput,
    preprocessing,
    tree,
)
from sklearn.pipeline import make_pipeline, make_union  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

D = Data()
P = preprocessing
XGB = {"n_estimators": 6, "n_jobs": 1}
LGB = {"n_estimators": 6, "n_jobs": 1, "verbose": -1}
CAT = {"iterations": 6, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
FOREST = ensemble.RandomForestClassifier(6, random_state=0)

CLASSIFIERS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "scaled forest": (lambda: make_pipeline(P.StandardScaler(), FOREST), D.wine, D.cultivar),
    "scaled boosting": (
        lambda: make_pipeline(
            P.MinMaxScaler(), ensemble.GradientBoostingClassifier(n_estimators=5)
        ),
        D.cancer,
        D.malign,
    ),
    "imputed, histogram": (
        lambda: make_pipeline(
            impute.SimpleImputer(), ensemble.HistGradientBoostingClassifier(max_iter=5)
        ),
        D.holed_iris,
        D.names,
    ),
    "components, histogram": (
        lambda: make_pipeline(
            P.StandardScaler(),
            decomposition.PCA(3),
            ensemble.HistGradientBoostingClassifier(max_iter=5),
        ),
        D.wine,
        D.cultivar,
    ),
    "robust, xgboost": (
        lambda: make_pipeline(P.RobustScaler(), xgboost.XGBClassifier(**XGB)),
        D.cancer,
        D.malign,
    ),
    "selected, xgboost dart": (
        lambda: make_pipeline(
            feature_selection.SelectKBest(k=5),
            xgboost.XGBClassifier(booster="dart", rate_drop=0.3, **XGB),
        ),
        D.wine,
        D.cultivar,
    ),
    "imputed, xgboost forest": (
        lambda: make_pipeline(
            impute.SimpleImputer(strategy="median"), xgboost.XGBRFClassifier(**XGB)
        ),
        D.holed_iris,
        D.species,
    ),
    "scaled, lightgbm": (
        lambda: make_pipeline(P.StandardScaler(), lightgbm.LGBMClassifier(**LGB)),
        D.wine,
        D.cultivar + 3,
    ),
    "scaled, catboost": (
        lambda: make_pipeline(P.StandardScaler(), catboost.CatBoostClassifier(**CAT)),
        D.wine,
        np.array(["a", "b", "c"])[D.cultivar],
    ),
    "nested pipelines": (
        lambda: make_pipeline(P.StandardScaler(), make_pipeline(P.MaxAbsScaler(), FOREST)),
        D.wine,
        D.cultivar,
    ),
    "a union": (
        lambda: make_pipeline(make_union(P.StandardScaler(), decomposition.PCA(2)), FOREST),
        D.wine,
        D.cultivar,
    ),
    "a vote": (
        lambda: ensemble.VotingClassifier(
            [("f", FOREST), ("x", xgboost.XGBClassifier(**XGB))],
            voting="soft",
            flatten_transform=False,
        ),
        D.wine,
        D.cultivar,
    ),
    "bags of trees": (
        lambda: ensemble.BaggingClassifier(
            tree.DecisionTreeClassifier(max_depth=3), n_estimators=4, random_state=0
        ),
        D.wine,
        D.cultivar,
    ),
    "calibrated": (
        lambda: calibration.CalibratedClassifierCV(FOREST, method="sigmoid", cv=2),
        D.wine,
        D.cultivar,
    ),
    "a search": (
        lambda: model_selection.GridSearchCV(FOREST, {"max_depth": [2, 4]}, cv=2),
        D.wine,
        D.cultivar,
    ),
    "a stack": (
        lambda: ensemble.StackingClassifier(
            [("f", FOREST), ("l", lightgbm.LGBMClassifier(**LGB))],
            linear_model.LogisticRegression(),
            cv=2,
        ),
        D.wine,
        D.cultivar,
    ),
}
REGRESSORS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "scaled, histogram": (
        lambda: make_pipeline(
            P.StandardScaler(), ensemble.HistGradientBoostingRegressor(max_iter=6)
        ),
        D.holed,
        D.progress,
    ),
    "scaled, ranker": (
        lambda: make_pipeline(P.StandardScaler(), xgboost.XGBRFRegressor(**XGB)),
        D.holed,
        D.progress,
    ),
    "scaled, linear leaves": (
        lambda: make_pipeline(P.StandardScaler(), lightgbm.LGBMRegressor(linear_tree=True, **LGB)),
        D.diabetes,
        D.progress,
    ),
    "scaled, two targets": (
        lambda: make_pipeline(P.StandardScaler(), xgboost.XGBRegressor(**XGB)),
        D.diabetes,
        D.two_targets,
    ),
    "a regressor for each target": (
        lambda: multioutput.MultiOutputRegressor(lightgbm.LGBMRegressor(**LGB)),
        D.diabetes,
        D.two_targets,
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, tmp_path: Path) -> None:
    make, rows, target = CLASSIFIERS[name]
    estimator = make().fit(rows, target)
    model = convert(estimator, tmp_path, rows)
    assert model.signature.inputs[0].dtype == "float64"
    for asked in (rows, odd_rows(rows)):
        assert_labels(model, asked, estimator.predict(asked))
        assert_close(model.predict_proba(asked), estimator.predict_proba(asked))


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, tmp_path: Path) -> None:
    make, rows, target = REGRESSORS[name]
    estimator = make().fit(rows, target)
    model = convert(estimator, tmp_path, rows)
    for asked in (rows, odd_rows(rows)):
        assert_close(model.predict_batch(asked).predictions, estimator.predict(asked))


def table() -> Any:
    """Numbers and texts."""
    frame = D.frame(missing=False)
    return frame.assign(city=frame["city"].astype(object), plan=frame["plan"].astype(int))


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "last",
    [
        xgboost.XGBRegressor(**XGB),
        lightgbm.LGBMRegressor(**LGB),
        ensemble.RandomForestRegressor(5, random_state=0),
    ],
    ids=["xgboost", "lightgbm", "forest"],
)
def test_columns_of_a_frame(last: Any, dense: bool, tmp_path: Path) -> None:
    frame = table()
    columns = compose.make_column_transformer(
        (P.OneHotEncoder(sparse_output=not dense), ["city", "plan"]),
        (P.StandardScaler(), ["bmi"]),
        ("passthrough", ["visits"]),
        sparse_threshold=0.0 if dense else 1.0,
    )
    estimator = make_pipeline(columns, last).fit(frame, D.by_category(D.frame(missing=False)))
    model = convert(estimator, tmp_path, frame)
    assert_close(model.predict_batch(frame).predictions, estimator.predict(frame))


def test_zeros_of_sparse_rows_are_missing_to_xgboost_alone(tmp_path: Path) -> None:
    frame = table()[["city", "visits"]]
    target = D.progress * (frame["visits"] % 3 == 0)
    encoder = P.OneHotEncoder(sparse_output=True)
    estimator = make_pipeline(encoder, xgboost.XGBRegressor(**XGB)).fit(frame, target)
    dense = estimator[-1].predict(estimator[:-1].transform(frame).toarray())
    assert (dense != estimator.predict(frame)).any()
    model = convert(estimator, tmp_path, frame)
    assert_close(model.predict_batch(frame).predictions, estimator.predict(frame))


def test_categories_with_labels_inside_are_refused(tmp_path: Path) -> None:
    frame = D.frame(missing=False)
    estimator = make_pipeline(lightgbm.LGBMRegressor(**LGB)).fit(frame, D.by_category(frame))
    with pytest.raises(ms.UnsupportedError, match="convert it alone"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=frame)


def test_steps_that_are_converted_wrongly_are_refused(tmp_path: Path) -> None:
    # skl2onnx leaves the indicators of missing values out.
    imputer = impute.SimpleImputer(add_indicator=True)
    estimator = make_pipeline(imputer, FOREST).fit(D.holed_iris, D.species)
    with pytest.raises(ms.UnsupportedError, match="takes 8 features"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.holed_iris)


def test_double_or_not(tmp_path: Path) -> None:
    estimator = make_pipeline(P.StandardScaler(), linear_model.LogisticRegression())
    estimator.fit(D.wine, D.cultivar)
    for dtype in ("float32", "float64"):
        model = convert(estimator, tmp_path, D.wine, dtype=dtype)
        assert model.signature.inputs[0].dtype == dtype
        rows = D.wine.astype(dtype).astype(np.float64)
        tolerance = {"float32": 1e-6, "float64": 1e-12}[dtype]
        got = model.predict_proba(rows)
        assert np.abs(got - estimator.predict_proba(rows)).max() < tolerance
    with pytest.raises(ms.InvalidArgumentError, match="'float16'"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.wine, dtype="float16")  # type: ignore[arg-type]


def test_several_threads_convert_at_once(tmp_path: Path) -> None:
    estimators = [
        make_pipeline(P.StandardScaler(), ensemble.HistGradientBoostingClassifier(max_iter=2)),
        linear_model.Perceptron(),
        xgboost.XGBClassifier(**XGB),
    ]
    for estimator in estimators:
        estimator.fit(D.wine, D.cultivar)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(2):
                path = tmp_path / f"{number}.onnx"
                ms.convert(estimators[number % 3], path, sample=D.wine, tolerance=1e-4)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
