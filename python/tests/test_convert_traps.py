"""What converters are known to get wrong: right here, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pytest.importorskip("sklearn", reason="needs modelserve[convert]")
pytest.importorskip("skl2onnx", reason="needs modelserve[convert]")

from convert_data import Data, assert_labels, convert
from sklearn import (
    calibration,
    ensemble,
    feature_extraction,
    gaussian_process,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
    tree,
)
from sklearn.pipeline import make_pipeline

D = Data()
TEXTS = [
    "The cat sat on the mat",
    "a dog ate the cat's food",
    "Dogs and cats are friends, aren't they?",
    "no friends here; none at all",
    "I'd say: cats! dogs? x y z cats",
    "naïve Übermut schläft hier",
    "Ein naïve Kater, 42 Mäuse",
    "la fête d'un chat noir à la plage",
]
SUBJECTS = [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("last", [svm.LinearSVC, linear_model.LogisticRegression])
@pytest.mark.parametrize("pattern", [r"(?u)\b\w\w+\b", r"(?u)\b\w+\b", "[a-z]+"])
@pytest.mark.parametrize("grams", [(1, 1), (1, 2), (2, 3)])
def test_words_and_their_neighbours(
    grams: tuple[int, int], pattern: str, last: Any, tmp_path: Path
) -> None:
    words = feature_extraction.text.TfidfVectorizer(ngram_range=grams, token_pattern=pattern)
    estimator = make_pipeline(words, last()).fit(TEXTS * 3, SUBJECTS * 3)
    model = convert(estimator, tmp_path, TEXTS)
    # Texts that the sample has not: words of one letter between others, letters beyond ASCII.
    asked = [*TEXTS, "the x cat y sat", "cat — sat", "über naïve  cats\tdogs", "mäuse42 cat_sat"]
    assert_labels(model, np.array(asked, object), estimator.predict(asked))
    if hasattr(estimator, "predict_proba"):
        got = model.predict_proba(np.array(asked, object))
        assert np.abs(got - estimator.predict_proba(asked)).max() < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"sublinear_tf": True},
        {"norm": "l1"},
        {"norm": None, "smooth_idf": False},
        {"use_idf": False},
        {"binary": True, "use_idf": False, "norm": None},
    ],
    ids=str,
)
def test_weights_of_words(settings: Any, dtype: Any, tmp_path: Path) -> None:
    words = feature_extraction.text.TfidfVectorizer(**settings).fit(TEXTS)
    counted = make_pipeline(feature_extraction.text.CountVectorizer())
    # No word comes twice in these: the logarithm of counts would not show after norming.
    sample = ["the cat sat", "no friends", "dogs"]
    asked = np.array([*TEXTS, "cat cat cat dog", "cats cats dogs", "nothing known"], object)
    tolerance = {"float32": 1e-6, "float64": 1e-12}[dtype]
    estimators = [words]
    if "binary" in settings:
        estimators.append(
            make_pipeline(feature_extraction.text.CountVectorizer(binary=True)).fit(TEXTS)
        )
    else:
        weights = feature_extraction.text.TfidfTransformer(**settings)
        estimators.append(make_pipeline(*counted, weights).fit(TEXTS))
    for estimator in estimators:
        model = convert(estimator, tmp_path, sample, dtype=dtype)
        got = np.asarray(model.predict_batch(asked).predictions)
        assert np.abs(got - estimator.transform(asked).toarray()).max() < tolerance


def test_words_and_trees(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    words = feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    trees = xgboost.XGBClassifier(n_estimators=5, n_jobs=1, min_child_weight=0)
    estimator = make_pipeline(words, trees).fit(TEXTS * 5, SUBJECTS * 5)
    model = convert(estimator, tmp_path, TEXTS)
    got = model.predict_proba(np.array(TEXTS, object))
    np.testing.assert_array_equal(got, estimator.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"analyzer": "char"}, "white space"),
        ({"analyzer": "char_wb"}, "white space"),
        ({"token_pattern": r"\w{3,}"}, "what Python and the tokenizer"),
    ],
)
def test_texts_that_are_refused(settings: Any, reason: str, tmp_path: Path) -> None:
    words = feature_extraction.text.CountVectorizer(**settings)
    estimator = make_pipeline(words, svm.LinearSVC()).fit(TEXTS, SUBJECTS)
    with pytest.raises(ms.UnsupportedError, match=reason):
        ms.convert(estimator, tmp_path / "m.onnx", sample=TEXTS)


@pytest.mark.parametrize(
    "base",
    [
        naive_bayes.GaussianNB(),
        linear_model.LogisticRegression(max_iter=500),
        ensemble.GradientBoostingClassifier(n_estimators=4),
        ensemble.HistGradientBoostingClassifier(max_iter=4),
        tree.DecisionTreeClassifier(max_depth=3),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method: str, classes: int, base: Any, tmp_path: Path) -> None:
    rows, target = (D.cancer, D.malign) if classes == 2 else (D.wine, D.cultivar)
    if isinstance(base, linear_model.LogisticRegression):
        rows = rows / rows.std(axis=0)
    estimator = calibration.CalibratedClassifierCV(base, method=method, cv=3).fit(rows, target)
    # Isotonic curves are steep: what goes in differs by a rounding of sums in another order.
    tolerance = 1e-8 if method == "isotonic" else None
    model = convert(estimator, tmp_path, rows, dtype="float64", tolerance=tolerance)
    assert_labels(model, rows, estimator.predict(rows))
    got = model.predict_proba(rows)
    assert np.abs(got - estimator.predict_proba(rows)).max() < (tolerance or 1e-12)


@pytest.mark.parametrize("normal", [False, True])
def test_gaussian_processes_are_computed_in_double(normal: bool, tmp_path: Path) -> None:
    estimator = gaussian_process.GaussianProcessRegressor(alpha=1e-3, normalize_y=normal)
    estimator.fit(D.diabetes[:120], D.progress[:120])
    model = convert(estimator, tmp_path, D.diabetes, tolerance=1e-9)
    assert model.signature.inputs[0].dtype == "float64"
    got = np.asarray(model.predict_batch(D.diabetes).predictions).reshape(-1)
    expected = estimator.predict(D.diabetes)
    assert (np.abs(got - expected) / np.maximum(1, np.abs(expected))).max() < 1e-9


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (gaussian_process.GaussianProcessClassifier(), "GaussianProcessClassifier|Solve"),
        (
            ensemble.GradientBoostingClassifier(
                init=linear_model.LogisticRegression(max_iter=9000), n_estimators=2
            ),
            "GradientBoostingClassifier.*init",
        ),
    ],
    ids=["gaussian process", "boosting from another model"],
)
def test_refused_by_name(estimator: Any, reason: str, tmp_path: Path) -> None:
    estimator.fit(D.iris, D.species)
    with pytest.raises(ms.UnsupportedError, match=reason):
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.iris)
    assert not list(tmp_path.iterdir())


def test_what_the_sample_does_not_show(tmp_path: Path) -> None:
    """A model that differs on a threshold alone is found out."""
    estimator = tree.DecisionTreeRegressor(max_depth=2).fit(D.iris, D.iris[:, 0])
    honest = estimator.predict
    threshold = np.float32(estimator.tree_.threshold[0])
    feature = estimator.tree_.feature[0]
    assert not (D.iris[:, feature].astype(np.float32) == threshold).any()

    def predict(rows: Any) -> Any:
        return honest(rows) + (np.asarray(rows, np.float32)[:, feature] == threshold)

    estimator.predict = predict
    with pytest.raises(ms.ConversionError, match="rows on thresholds") as caught:
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.iris)
    assert caught.value.row is not None and caught.value.expected != caught.value.got
    assert not list(tmp_path.iterdir())


def test_the_default_tolerance_is_that_of_the_type(tmp_path: Path) -> None:
    estimator = tree.DecisionTreeRegressor(max_depth=3).fit(D.diabetes, D.progress)
    honest = estimator.predict
    estimator.predict = lambda rows: honest(rows) * (1 + 1e-11)
    with pytest.raises(ms.ConversionError):
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.diabetes)
    ms.convert(estimator, tmp_path / "m.onnx", sample=D.diabetes, tolerance=1e-10)


def test_an_estimator_without_converter(tmp_path: Path) -> None:
    estimator = neighbors.NearestCentroid().fit(D.iris, D.species)
    with pytest.raises(ms.UnsupportedError, match="NearestCentroid"):
        ms.convert(estimator, tmp_path / "m.onnx", sample=D.iris)
