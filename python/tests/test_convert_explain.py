"""Explanations, leaves and importances of converted models, next to the trainers' own."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("onnx", reason="needs modelserve[convert]")

from convert_data import Data, odd_rows
from sklearn import ensemble, tree

D = Data()


def explained(estimator: Any, folder: Path, sample: Any, ending: str = "onnx") -> ms.Model:
    path = folder / f"model.{ending}"
    ms.convert(estimator, path, sample=sample)
    return ms.load(path, explain=True)


def assert_explains(model: ms.Model, rows: Any, expected: Any) -> None:
    """`expected` has a row's features, then the base: for each target where there are several."""
    found = model.explain(rows)
    base = np.broadcast_to(np.asarray(found.base)[..., None], (*found.values.shape[:-1], 1))
    got = np.concatenate([found.values, base], axis=-1)
    margin = np.abs(expected.sum(axis=-1)).max()
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-6 * margin


@pytest.mark.parametrize("ending", ["onnx", "ubj"])
def test_xgboost(ending: str, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    settings = {"n_estimators": 6, "max_depth": 4, "n_jobs": 1}
    for estimator, rows, target in (
        (xgboost.XGBClassifier(**settings), D.holed_iris, D.species),
        (xgboost.XGBClassifier(**settings), D.cancer, D.malign),
        (xgboost.XGBRegressor(**settings), D.holed, D.progress),
    ):
        booster = estimator.fit(rows, target).get_booster()
        model = explained(estimator, tmp_path, rows, ending)
        matrix = xgboost.DMatrix(rows)
        assert_explains(model, rows, booster.predict(matrix, pred_contribs=True))
        leaves = booster.predict(matrix, pred_leaf=True)
        np.testing.assert_array_equal(model.apply(rows), leaves.reshape(len(rows), -1))
        for kind in ("splits", "gain", "cover", "total_gain", "total_cover"):
            got = {k: v for k, v in model.importance(kind).items() if v}
            named = "weight" if kind == "splits" else kind
            expected = booster.get_score(importance_type=named)
            assert len(got) == len(expected)
            for (name, value), mine in zip(expected.items(), got.values(), strict=True):
                assert mine == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("ending", ["onnx", "txt"])
def test_lightgbm(ending: str, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"n_estimators": 6, "num_leaves": 9, "n_jobs": 1, "verbose": -1}
    for estimator, rows, target in (
        (lightgbm.LGBMClassifier(**settings), D.holed_iris, D.species),
        (lightgbm.LGBMClassifier(**settings), D.cancer, D.malign),
        (lightgbm.LGBMRegressor(**settings), D.holed, D.progress),
    ):
        booster = estimator.fit(rows, target).booster_
        model = explained(estimator, tmp_path, rows, ending)
        width = rows.shape[1] + 1
        expected = booster.predict(rows, pred_contrib=True)
        if expected.shape[1] != width:
            expected = expected.reshape(len(rows), -1, width)
        assert_explains(model, rows, expected)
        leaves = booster.predict(rows, pred_leaf=True)
        np.testing.assert_array_equal(model.apply(rows), leaves)
        # Two kinds bear XGBoost's names: LightGBM's `gain` is XGBoost's `total_gain`.
        gain = list(model.importance("total_gain").values())
        np.testing.assert_allclose(gain, booster.feature_importance("gain"), rtol=1e-6)
        splits = list(model.importance("splits").values())
        np.testing.assert_array_equal(splits, booster.feature_importance("split"))


def shapley(values: Any, width: int, row: Any) -> Any:
    """Shapley values by their definition; `values(row, known)` is the expected margin."""
    found = np.zeros(width)
    for feature in range(width):
        others = [f for f in range(width) if f != feature]
        for size in range(width):
            weight = factorial(size) * factorial(width - size - 1) / factorial(width)
            for known in combinations(others, size):
                gained = values(row, {*known, feature}) - values(row, set(known))
                found[feature] += weight * gained
    return found


def expectation(fitted: Any, row: Any, known: set[int], node: int = 0) -> float:
    """What a tree answers where only some features are known."""
    left, right = fitted.children_left[node], fitted.children_right[node]
    if left == -1:
        return float(fitted.value[node, 0, 0])
    feature = fitted.feature[node]
    if feature in known:
        below = left if np.float32(row[feature]) <= fitted.threshold[node] else right
        return expectation(fitted, row, known, below)
    share = fitted.weighted_n_node_samples[left] / fitted.weighted_n_node_samples[node]
    return share * expectation(fitted, row, known, left) + (1 - share) * expectation(
        fitted, row, known, right
    )


def test_sklearn_by_the_definition(tmp_path: Path) -> None:
    rows = D.diabetes[:, [2, 3, 8]]
    boosted = ensemble.GradientBoostingRegressor(n_estimators=5, max_depth=3, random_state=0)
    boosted.fit(rows, D.progress)
    forest = ensemble.RandomForestRegressor(5, max_depth=4, random_state=0).fit(rows, D.progress)
    base = float(boosted.init_.constant_.item())
    two = ensemble.GradientBoostingClassifier(n_estimators=5, max_depth=3, random_state=0)
    two.fit(rows, D.progress > 150)
    prior = float(two.init_.class_prior_[1])
    odds = float(np.log(prior / (1 - prior)))
    for estimator, trees, scale, start in (
        (two, [t.tree_ for t in two.estimators_[:, 0]], two.learning_rate, odds),
        (boosted, [t.tree_ for t in boosted.estimators_[:, 0]], boosted.learning_rate, base),
        (forest, [t.tree_ for t in forest.estimators_], 1 / 5, 0.0),
    ):

        def margin(row: Any, known: set[int]) -> float:
            return start + scale * sum(expectation(t, row, known) for t in trees)  # noqa: B023

        model = explained(estimator, tmp_path, rows)
        asked = rows[:12]
        found = model.explain(asked)
        expected = np.array([[*shapley(margin, 3, r), margin(r, set())] for r in asked])
        assert_explains(model, asked, expected)
        np.testing.assert_allclose(
            found.values.sum(axis=1) + found.base,
            estimator.decision_function(asked) if estimator is two else estimator.predict(asked),
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize(
    ("estimator", "rows", "target"),
    [
        (tree.DecisionTreeClassifier(random_state=0), D.holed_iris, D.species),
        (ensemble.RandomForestClassifier(5, random_state=0), D.iris, D.names),
        (ensemble.ExtraTreesRegressor(5, random_state=0), D.diabetes, D.progress),
        (ensemble.GradientBoostingClassifier(n_estimators=4), D.iris, D.species),
        (ensemble.GradientBoostingClassifier(n_estimators=4), D.iris, D.species == 1),
        (ensemble.GradientBoostingRegressor(n_estimators=4), D.diabetes, D.progress),
        (ensemble.IsolationForest(n_estimators=5, random_state=0), D.wine, None),
    ],
    ids=lambda e: type(e).__name__ if hasattr(e, "fit") else "",
)
def test_leaves_of_sklearn(estimator: Any, rows: Any, target: Any, tmp_path: Path) -> None:
    estimator.fit(rows, target)
    model = explained(estimator, tmp_path, rows)
    for asked in (rows, odd_rows(rows)):
        if isinstance(estimator, ensemble.IsolationForest):
            expected = np.stack([t.apply(asked) for t in estimator.estimators_], axis=1)
        else:
            expected = estimator.apply(asked)
        np.testing.assert_array_equal(model.apply(asked), expected.reshape(len(asked), -1))


def test_importance_of_a_tree(tmp_path: Path) -> None:
    estimator = tree.DecisionTreeRegressor(max_depth=5).fit(D.diabetes, D.progress)
    model = explained(estimator, tmp_path, D.diabetes)
    gain = np.array(list(model.importance("total_gain").values()))
    np.testing.assert_allclose(gain / gain.sum(), estimator.feature_importances_, rtol=1e-9)


def test_histogram_boosting_adds_up(tmp_path: Path) -> None:
    estimator = ensemble.HistGradientBoostingClassifier(categorical_features=[1, 4], max_iter=6)
    estimator.fit(D.codes, D.progress > 140)
    model = explained(estimator, tmp_path, D.codes)
    found = model.explain(D.codes)
    margins = estimator.decision_function(D.codes)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base, margins, atol=1e-9)
