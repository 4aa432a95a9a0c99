"""scikit-learn's trees and forests: every label the trainer's, every value within 1e-12."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("skl2onnx", reason="needs modelserve[convert]")

from convert_data import Data, assert_close, assert_labels, convert, odd_rows
from sklearn import dummy, ensemble, tree

D = Data()
E, T = ensemble, tree

#: Estimator, rows, target, and how it is fitted.
CLASSIFIERS: dict[str, tuple[Callable[[], Any], Any, Any, dict[str, Any]]] = {
    "tree": (lambda: T.DecisionTreeClassifier(random_state=0), D.iris, D.names, {}),
    "tree, missing values": (
        lambda: T.DecisionTreeClassifier(random_state=0),
        D.holed_iris,
        D.names,
        {},
    ),
    "tree, entropy and weights": (
        lambda: T.DecisionTreeClassifier(criterion="entropy", class_weight="balanced"),
        D.wine,
        D.cultivar,
        {"sample_weight": np.linspace(0.1, 2, len(D.wine))},
    ),
    "extra tree": (lambda: T.ExtraTreeClassifier(random_state=0), D.wine, D.cultivar - 5, {}),
    "stump": (lambda: T.DecisionTreeClassifier(max_depth=1), D.iris, D.species, {}),
    "forest": (
        lambda: E.RandomForestClassifier(15, min_samples_leaf=3, random_state=0),
        D.iris,
        D.names,
        {},
    ),
    "forest, missing values": (
        lambda: E.RandomForestClassifier(9, max_samples=0.3, random_state=1),
        D.holed_iris,
        D.species * 10,
        {},
    ),
    "forest, monotonic": (
        lambda: E.RandomForestClassifier(5, monotonic_cst=[1] * 30, random_state=0),
        D.cancer,
        D.malign,
        {},
    ),
    "extra trees, bootstrap": (
        lambda: E.ExtraTreesClassifier(9, bootstrap=True, random_state=0),
        D.cancer,
        D.malign,
        {},
    ),
    "boosting": (
        lambda: E.GradientBoostingClassifier(n_estimators=8, subsample=0.7, random_state=0),
        D.iris,
        D.names,
        {},
    ),
    "boosting, two classes": (
        lambda: E.GradientBoostingClassifier(n_estimators=8, random_state=0),
        D.cancer,
        np.where(D.malign, "yes", "no"),
        {},
    ),
    "boosting, exponential, from zero": (
        lambda: E.GradientBoostingClassifier(loss="exponential", init="zero", n_estimators=8),
        D.cancer,
        D.malign,
        {},
    ),
    "boosting, stopped early": (
        lambda: E.GradientBoostingClassifier(n_estimators=90, n_iter_no_change=2, random_state=0),
        D.cancer,
        D.malign,
        {},
    ),
    "histogram boosting": (
        lambda: E.HistGradientBoostingClassifier(max_iter=8),
        D.holed_iris,
        D.names,
        {},
    ),
    "histogram boosting, two classes": (
        lambda: E.HistGradientBoostingClassifier(max_iter=8, early_stopping=True, random_state=0),
        D.cancer,
        D.malign,
        {},
    ),
    "histogram boosting, categories": (
        lambda: E.HistGradientBoostingClassifier(categorical_features=[1, 4], max_iter=8),
        D.codes,
        D.grades,
        {},
    ),
}
REGRESSORS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "tree": (lambda: T.DecisionTreeRegressor(max_depth=6), D.diabetes, D.progress),
    "tree, two targets": (T.DecisionTreeRegressor, D.holed, D.two_targets),
    "extra tree": (lambda: T.ExtraTreeRegressor(random_state=0), D.diabetes, D.progress),
    "tree, absolute error": (
        lambda: T.DecisionTreeRegressor(criterion="absolute_error", max_depth=4),
        D.diabetes,
        D.progress,
    ),
    "forest": (lambda: E.RandomForestRegressor(9, random_state=0), D.holed, D.progress),
    "forest, two targets": (
        lambda: E.ExtraTreesRegressor(9, random_state=0),
        D.diabetes,
        D.two_targets,
    ),
    "one row": (lambda: T.DecisionTreeRegressor(), D.diabetes[:1], D.progress[:1]),
    "boosting, huber": (
        lambda: E.GradientBoostingRegressor(loss="huber", n_estimators=8),
        D.diabetes,
        D.progress,
    ),
    "boosting, quantile": (
        lambda: E.GradientBoostingRegressor(loss="quantile", alpha=0.2, n_estimators=8),
        D.diabetes,
        D.progress,
    ),
    "boosting from a median": (
        lambda: E.GradientBoostingRegressor(
            init=dummy.DummyRegressor(strategy="median"), n_estimators=8
        ),
        D.diabetes,
        D.progress,
    ),
    "histogram boosting, poisson": (
        lambda: E.HistGradientBoostingRegressor(loss="poisson", max_iter=8),
        D.holed,
        D.progress,
    ),
    "histogram boosting, gamma": (
        lambda: E.HistGradientBoostingRegressor(loss="gamma", max_iter=8),
        D.holed,
        D.progress,
    ),
    "histogram boosting, absolute error": (
        lambda: E.HistGradientBoostingRegressor(loss="absolute_error", max_iter=8),
        D.holed,
        D.progress,
    ),
    "histogram boosting, categories": (
        lambda: E.HistGradientBoostingRegressor(categorical_features=[4, 1], max_iter=12),
        D.codes,
        D.progress + 40 * np.nan_to_num(D.codes[:, 1] % 2),
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, tmp_path: Path) -> None:
    make, rows, target, fitted = CLASSIFIERS[name]
    estimator = make().fit(rows, target, **fitted)
    model = convert(estimator, tmp_path, rows)
    assert model.signature.inputs[0].dtype == "float64"
    for asked in (rows, odd_rows(rows)):
        if np.isnan(asked).any() or not np.isnan(rows).any():
            assert_labels(model, asked, estimator.predict(asked))
            assert_close(model.predict_proba(asked), estimator.predict_proba(asked))


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, tmp_path: Path) -> None:
    make, rows, target = REGRESSORS[name]
    estimator = make().fit(rows, target)
    model = convert(estimator, tmp_path, rows)
    for asked in (rows, odd_rows(rows)):
        assert_close(model.predict_batch(asked).predictions, estimator.predict(asked))


@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing values"])
def test_histogram_boosting_on_categories_with_labels(missing: bool, tmp_path: Path) -> None:
    frame = D.frame(missing=missing)
    estimator = E.HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=12)
    estimator.fit(frame, D.by_category(frame))
    model = convert(estimator, tmp_path, frame)
    rows = frame.assign(
        city=frame["city"].astype(object).fillna(""), plan=frame["plan"].astype(float)
    )
    got = model.predict_batch({name: rows[name].to_numpy() for name in rows.columns})
    assert_close(got.predictions, estimator.predict(frame))
    strange = {"bmi": 0.01, "city": "Elche", "plan": 77.0, "visits": 3.0}
    unknown = frame.iloc[:1].assign(bmi=0.01, city=None, plan=None, visits=3)
    assert model.predict(strange).prediction == pytest.approx(estimator.predict(unknown)[0])


@pytest.mark.parametrize(
    "settings",
    [{}, {"max_features": 3, "contamination": 0.2}, {"max_samples": 1}, {"max_samples": 2}],
    ids=str,
)
def test_isolation_forests(settings: dict[str, Any], tmp_path: Path) -> None:
    estimator = E.IsolationForest(n_estimators=25, random_state=0, **settings).fit(D.wine)
    model = convert(estimator, tmp_path, D.wine)
    assert model.signature.task == "outlier"
    for asked in (D.wine, odd_rows(D.wine)):
        assert_labels(model, asked, estimator.predict(asked))
        got = model.predict_batch(asked).scores
        assert got is not None
        assert_close(got, estimator.decision_function(asked))


def test_a_margin_of_zero_is_the_second_class(tmp_path: Path) -> None:
    rows = np.array([[0.0], [0.0], [1.0], [1.0], [2.0], [2.0]])
    target = ["a", "b", "a", "b", "a", "b"]
    estimator = E.GradientBoostingClassifier(n_estimators=3).fit(rows, target)
    assert (estimator.decision_function(rows) == 0).all()
    model = convert(estimator, tmp_path, rows)
    assert_labels(model, rows, ["b"] * 6)


def test_ten_thousand_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 10_000))
    target = (rows[:, 17] + rows[:, 9_999] > 0).astype(int)
    estimator = E.ExtraTreesClassifier(6, random_state=0).fit(rows, target)
    model = convert(estimator, tmp_path, rows)
    assert_close(model.predict_proba(rows), estimator.predict_proba(rows))


def test_thresholds_between_two_float32_values(tmp_path: Path) -> None:
    # The threshold lies half-way between neighbours, so that rounding it would move a row.
    near = np.float32(1.0)
    rows = np.array([[near], [np.nextafter(near, np.float32(2))]], np.float64)
    estimator = T.DecisionTreeClassifier().fit(rows, [0, 1])
    model = convert(estimator, tmp_path, rows)
    fine = np.linspace(1 - 1e-7, 1 + 3e-7, 400).reshape(-1, 1)
    assert_labels(model, fine, estimator.predict(fine))


@pytest.mark.parametrize(
    "estimator",
    [T.DecisionTreeClassifier(random_state=0), E.RandomForestClassifier(5, random_state=0)],
    ids=["tree", "forest"],
)
@pytest.mark.parametrize("classes", [2, 3])
def test_several_outputs_with_classes(classes: int, estimator: Any, tmp_path: Path) -> None:
    target = np.stack([np.minimum(D.species, classes - 1), D.species > 1], axis=1).astype(int)
    estimator.fit(D.holed_iris, target)
    path = tmp_path / "m.onnx"
    ms.convert(estimator, path, sample=D.holed_iris)
    model = ms.load(path)
    for asked in (D.holed_iris, odd_rows(D.holed_iris)):
        assert_labels(model, asked, estimator.predict(asked))
