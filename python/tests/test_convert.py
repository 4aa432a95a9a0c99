"""Conversion of trained estimators, proved on a sample."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

sklearn = pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("skl2onnx", reason="needs modelserve[convert]")
pytest.importorskip("onnxmltools", reason="needs modelserve[convert]")

from sklearn import (  # noqa: E402
    cluster,
    compose,
    datasets,
    decomposition,
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

IRIS = datasets.load_iris()
DIABETES = datasets.load_diabetes()
X = IRIS.data.astype(np.float32)
XR = DIABETES.data.astype(np.float32)


def scaled(estimator: Any) -> Any:
    return pipeline.make_pipeline(preprocessing.StandardScaler(), estimator)


def identity(estimator: Any) -> Any:
    """A pipeline that leaves values as they are: scaling in float32 may cross a threshold."""
    return pipeline.make_pipeline(preprocessing.FunctionTransformer(), estimator)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: scaled(linear_model.LogisticRegression()),
    "forest": lambda: ensemble.RandomForestClassifier(10, max_depth=4, random_state=0),
    "extra trees": lambda: ensemble.ExtraTreesClassifier(10, max_depth=4, random_state=0),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
    "hist boosting": lambda: ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "tree": lambda: tree.DecisionTreeClassifier(max_depth=4, random_state=0),
    "naive bayes": naive_bayes.GaussianNB,
    "neighbours": lambda: neighbors.KNeighborsClassifier(5),
    "mlp": lambda: scaled(
        neural_network.MLPClassifier((8,), solver="lbfgs", max_iter=50, random_state=0)
    ),
    "linear svc": lambda: scaled(svm.LinearSVC()),
    "ridge": linear_model.RidgeClassifier,
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": linear_model.LinearRegression,
    "lasso": lambda: linear_model.Lasso(alpha=0.1),
    "forest": lambda: ensemble.RandomForestRegressor(10, max_depth=4, random_state=0),
    "boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0),
    "svr": lambda: scaled(svm.SVR()),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, tmp_path: Path) -> None:
    estimator = CLASSIFIERS[name]().fit(X, IRIS.target)
    model = ms.convert(estimator, tmp_path / "m.onnx", sample=X)
    assert model.signature.task == "classifier"
    assert list(model.predict_batch(X).predictions) == list(estimator.predict(X))
    assert model.signature.has_probabilities == hasattr(estimator, "predict_proba")


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, tmp_path: Path) -> None:
    estimator = REGRESSORS[name]().fit(XR, DIABETES.target)
    model = ms.convert(estimator, tmp_path / "m.onnx", sample=XR)
    assert model.signature.task == "regressor"
    got = model.predict(XR[0]).prediction
    assert got == pytest.approx(float(estimator.predict(XR[:1])[0]), rel=1e-5)


def test_clusters_transforms_and_string_labels(tmp_path: Path) -> None:
    kmeans = cluster.KMeans(3, n_init=1, random_state=0).fit(X)
    assert ms.convert(kmeans, tmp_path / "k.onnx", sample=X).signature.task == "cluster"
    pca = scaled(decomposition.PCA(2)).fit(X)
    model = ms.convert(pca, tmp_path / "p.onnx", sample=X)
    assert model.signature.task == "transform"
    assert np.shape(model.predict_batch(X).predictions) == (150, 2)
    names = IRIS.target_names[IRIS.target]
    strings = scaled(linear_model.LogisticRegression()).fit(X, names)
    model = ms.convert(strings, tmp_path / "s.onnx", sample=X)
    assert model.predict(X[0]).prediction == "setosa"


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a pipeline"])
def test_xgboost(alone: bool, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    wrap = (lambda e: e) if alone else identity
    for classes in (3, 2):
        keep = IRIS.target < classes
        estimator = wrap(xgboost.XGBClassifier(n_estimators=8, max_depth=3))
        estimator.fit(X[keep], IRIS.target[keep])
        model = ms.convert(estimator, tmp_path / "c.onnx", sample=X[keep])
        assert model.signature.has_probabilities
    regressor = wrap(xgboost.XGBRegressor(n_estimators=8, max_depth=3)).fit(XR, DIABETES.target)
    ms.convert(regressor, tmp_path / "r.onnx", sample=XR)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a pipeline"])
def test_lightgbm(alone: bool, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    wrap = (lambda e: e) if alone else identity
    estimator = wrap(lightgbm.LGBMClassifier(n_estimators=5, num_leaves=4, verbose=-1))
    # Thresholds lie half-way between values: quarters keep clear of rounding.
    coarse = np.round(X * 4) / 4
    estimator.fit(coarse, IRIS.target)
    model = ms.convert(estimator, tmp_path / "c.onnx", sample=coarse)
    assert model.signature.has_probabilities


def test_dataframes_with_mixed_columns(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"size": [1.5, 2.5, 3.5, 4.5] * 5, "colour": ["red", "blue", "red", "green"] * 5}
    )
    target = [0, 1, 0, 1] * 5
    estimator = pipeline.make_pipeline(
        compose.make_column_transformer(
            (preprocessing.StandardScaler(), ["size"]),
            (preprocessing.OneHotEncoder(), ["colour"]),
        ),
        linear_model.LogisticRegression(),
    ).fit(frame, target)
    model = ms.convert(estimator, tmp_path / "m.onnx", sample=frame)
    want = estimator.predict_proba(frame)
    np.testing.assert_allclose(model.predict_proba(frame), want, atol=1e-5)
    for one in ({"size": 1.5, "colour": "red"}, [1.5, "red"], frame.iloc[0]):
        assert model.predict(one).probabilities == pytest.approx(want[0], abs=1e-5)
    rows = [{"size": 1.5, "colour": "red"}, {"size": 2.5, "colour": "blue"}]
    for batch in (rows, [[1.5, "red"], [2.5, "blue"]], frame.iloc[:2].to_numpy()):
        np.testing.assert_allclose(model.predict_proba(batch), want[:2], atol=1e-5)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = scaled(linear_model.LogisticRegression()).fit(frame, IRIS.target)
    model = ms.convert(estimator, tmp_path / "m.onnx", sample=frame)
    metadata = model.info().metadata
    assert metadata["modelserve.task"] == "classifier"
    assert json.loads(metadata["modelserve.classes"]) == [0, 1, 2]
    assert metadata["modelserve.output_kind"] == "probabilities"
    assert json.loads(metadata["modelserve.feature_names"]) == list("abcd")
    assert model.signature.feature_names == list("abcd")
    assert model.predict(frame[list("dcba")].iloc[0]).prediction == 0


def test_a_difference_leaves_no_file(tmp_path: Path) -> None:
    estimator = linear_model.LinearRegression().fit(XR, DIABETES.target)
    honest = estimator.predict
    estimator.predict = lambda rows: honest(rows) + np.where(np.arange(len(rows)) == 7, 9.0, 0.0)
    with pytest.raises(ms.ConversionError) as caught:
        ms.convert(estimator, tmp_path / "m.onnx", sample=XR)
    assert caught.value.row == 7 and "row 7" in str(caught.value)
    assert caught.value.expected is not None and caught.value.got is not None
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "skl2onnx":
            raise ModuleNotFoundError("No module named 'skl2onnx'", name="skl2onnx")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    estimator = linear_model.LinearRegression().fit(XR, DIABETES.target)
    with pytest.raises(ImportError, match=r'skl2onnx.*pip install "modelserve\[convert\]"'):
        ms.convert(estimator, tmp_path / "m.onnx", sample=XR)
