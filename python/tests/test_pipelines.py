"""Whole pipelines as functions of rows: columns of several types, categories, texts.

Each model takes the tabular fast path (`info.fast_path`) where the test says so, and answers the
same there, in the plain plan, alone and in a batch, as scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve as ms

pd = pytest.importorskip("pandas")
pytest.importorskip("skl2onnx")

from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

ROWS = 240


def frame(seed: int = 0, dtype: Any = np.float64) -> Any:
    """Numbers with holes, whole numbers, bools and two columns of text."""
    rng = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "age": rng.normal(40, 12, ROWS).astype(dtype),
            "income": rng.lognormal(3, 1, ROWS).astype(dtype),
            "visits": rng.integers(0, 9, ROWS),
            "member": rng.random(ROWS) < 0.4,
            "town": rng.choice(["Ulm", "Köln", "Bonn"], ROWS).astype(object),
            "plan": rng.choice(["free", "paid"], ROWS).astype(object),
        }
    )
    made.loc[rng.random(ROWS) < 0.1, "age"] = np.nan
    return made


def target(x: Any) -> Any:
    """Two classes that depend on all kinds of columns."""
    score = np.nan_to_num(x.age.to_numpy(), nan=40) / 12 + x.visits - x.member * 2
    return (score + (x.town == "Ulm") > 7).astype(int).to_numpy()


Build = Callable[[], Any]
NUMBERS = ["age", "income"]


def numbers() -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


FRAMES: dict[str, Build] = {
    "one-hot and logistic": lambda: make_pipeline(
        make_column_transformer(
            (numbers(), NUMBERS),
            (OneHotEncoder(handle_unknown="ignore"), ["town", "plan"]),
            ("passthrough", ["visits", "member"]),
        ),
        LogisticRegression(),
    ),
    "one-hot and forest": lambda: make_pipeline(
        make_column_transformer(
            (numbers(), NUMBERS),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["town", "plan"]),
        ),
        RandomForestClassifier(12, max_depth=5, random_state=0),
    ),
    "one column one-hot": lambda: make_pipeline(
        make_column_transformer(
            (MinMaxScaler(), ["income"]), (OneHotEncoder(handle_unknown="ignore"), ["town"])
        ),
        LogisticRegression(),
    ),
    "ordinal and forest": lambda: make_pipeline(
        make_column_transformer(
            (numbers(), [*NUMBERS, "visits"]),
            (
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                ["town", "plan"],
            ),
        ),
        RandomForestClassifier(12, max_depth=5, random_state=0),
    ),
    "regression": lambda: make_pipeline(
        make_column_transformer(
            (numbers(), NUMBERS), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
        ),
        RandomForestRegressor(8, max_depth=4, random_state=0),
    ),
    "codes of whole numbers": lambda: make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["visits"])),
        LogisticRegression(),
    ),
}


def converted(path: Path, model: Any, sample: Any, **options: Any) -> tuple[ms.Model, ms.Model]:
    """The model, and the same by its plain plan."""
    ms.convert(model, path, sample=sample, **options)
    return ms.load(path), ms.load(path, plan="plain")


def values(answer: Any) -> Any:
    """Probabilities, else scores, else what is predicted."""
    for given in (answer.probabilities, answer.scores):
        if given is not None:
            return np.asarray(given, dtype=np.float64)
    return np.asarray(answer.prediction, dtype=np.float64)


def batch_values(answers: Any) -> Any:
    """As `values`, of a batch."""
    for given in (answers.probabilities, answers.scores):
        if given is not None:
            return np.asarray(given, dtype=np.float64)
    return np.asarray(answers.predictions, dtype=np.float64)


def by_the_graph(model: ms.Model, inputs: dict[str, Any]) -> Any:
    """The last output of the same plan, step by step."""
    return np.asarray(list(model.run(inputs).values())[-1])


def truth(model: Any, x: Any) -> Any:
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "float"])
@pytest.mark.parametrize("name", FRAMES)
def test_columns(name: str, dtype: Any, tmp_path: Path) -> None:
    x = frame(dtype=dtype)
    estimator = FRAMES[name]().fit(x, target(x))
    fast, plain = converted(tmp_path / "model.onnx", estimator, x)
    assert fast.info().fast_path
    assert not plain.info().fast_path
    new = frame(seed=1, dtype=dtype)
    new.loc[:9, "town"] = "Rom"  # no town of the training rows
    used = {spec.name: new[spec.name].to_numpy() for spec in fast.signature.inputs}
    answers = fast.predict_batch(used)
    want = truth(estimator, new)
    np.testing.assert_allclose(batch_values(answers), want.reshape(len(x), -1).squeeze(), atol=2e-6)
    np.testing.assert_allclose(
        batch_values(answers), batch_values(plain.predict_batch(used)), atol=1e-6
    )
    columns = {key: column.reshape(-1, 1) for key, column in used.items()}
    graph = by_the_graph(fast, columns)
    assert np.array_equal(batch_values(answers).ravel(), graph.ravel())
    # A frame, columns of one value a row, and a list of dicts are the same rows.
    subset = new[list(used)]
    for same in (subset, columns, subset.to_dict("records")):
        assert np.array_equal(batch_values(fast.predict_batch(same)), batch_values(answers))
    for i in range(0, ROWS, 7):
        python = {
            key: column[i].item() if key not in ("town", "plan") else column[i]
            for key, column in used.items()
        }
        numpy = {key: column[i] for key, column in used.items()}
        backwards = dict(reversed(python.items()))
        for row in (python, numpy, backwards, subset.iloc[i]):
            assert np.array_equal(values(fast.predict(row)), batch_values(answers)[i]), (i, row)


def test_what_does_not_fit_is_refused_with_its_name(tmp_path: Path) -> None:
    x = frame()
    estimator = FRAMES["one-hot and logistic"]().fit(x, target(x))
    model, _ = converted(tmp_path / "model.onnx", estimator, x)
    row = {"age": 40.0, "income": 9.0, "visits": 3, "member": 1, "town": "Ulm", "plan": "free"}
    assert model.predict(row).prediction in (0, 1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**row, "town": 5}, "town"),
        ({**row, "age": "old"}, "age"),
        ({**row, "visits": 2.5}, "visits"),
        ({key: row[key] for key in row if key != "plan"}, "plan"),
        ({**row, "colour": "red"}, "colour"),
    ]
    for given, named in wrong:
        with pytest.raises(ms.InvalidInputError, match=named):
            model.predict(given)
    lengths = {key: [value] * (2 if key == "age" else 3) for key, value in row.items()}
    with pytest.raises(ms.InvalidInputError, match="rows"):
        model.predict_batch(lengths)
    # Whole numbers that single precision does not hold take the other way, and the same answer.
    large = {**row, "visits": 2**24 + 1}
    plain = ms.load(tmp_path / "model.onnx", plan="plain")
    assert np.array_equal(values(model.predict(large)), values(plain.predict(large)))


def test_an_unknown_category_may_be_an_error() -> None:
    model = ms.load(Path(__file__).parents[2] / "tests/data/pipelines/strict.onnx")
    assert model.info().fast_path
    assert model.predict("b").prediction == 5.0
    assert list(model.predict_batch([["a"], ["b"]]).predictions) == [2.0, 5.0]
    with pytest.raises(ms.InvalidInputError, match="1 of 2 values are no known category"):
        model.predict_batch([["a"], ["c"]])


TEXTS = [
    "The quick brown fox jumps over the lazy dog",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "to be, or not to be: that is the question",
    "THE DOG and the fox are FRIENDS, 3 times over",
    "nothing but the fox",
]
ODD = ["", "   ", "Ünïcödé über alles", "fox", "fox fox fox the THE", "日本語 fox", "a\nb\tfox_1"]

VECTORIZERS: dict[str, Build] = {
    "words": lambda: TfidfVectorizer(token_pattern=r"[a-zA-Z]+"),
    "identifiers": lambda: TfidfVectorizer(token_pattern=r"[a-zA-Z0-9_]+"),
    "counts": lambda: CountVectorizer(token_pattern=r"[a-zA-Z]+"),
    "sublinear": lambda: TfidfVectorizer(token_pattern=r"[a-zA-Z]+", sublinear_tf=True),
    "sums": lambda: TfidfVectorizer(token_pattern=r"[a-zA-Z]+", norm="l1"),
    "as they are": lambda: TfidfVectorizer(token_pattern=r"[a-zA-Z]+", lowercase=False),
}


@pytest.mark.parametrize("name", VECTORIZERS)
@pytest.mark.parametrize("last", [LogisticRegression, SGDClassifier, Ridge])
def test_texts(name: str, last: Any, tmp_path: Path) -> None:
    train = TEXTS * 6
    labels = np.array([i % len(TEXTS) % 2 for i in range(len(train))])
    estimator = make_pipeline(VECTORIZERS[name](), last()).fit(train, labels)
    options = {} if last is not SGDClassifier else {"tolerance": 1e-4}
    fast, plain = converted(tmp_path / "model.onnx", estimator, np.array(train), **options)
    assert fast.info().fast_path
    texts = np.array(TEXTS + ODD, dtype=object)
    answers = fast.predict_batch(texts)
    reference = plain.predict_batch(texts)
    np.testing.assert_allclose(batch_values(answers), batch_values(reference), rtol=1e-6, atol=1e-6)
    name_of_input = fast.signature.inputs[0].name
    graph = by_the_graph(fast, {name_of_input: texts})
    assert np.array_equal(batch_values(answers).ravel(), graph.ravel())
    np.testing.assert_allclose(
        np.asarray(answers.predictions).ravel(), estimator.predict(texts).ravel(), atol=1e-5
    )
    for i, text in enumerate(texts):
        assert np.array_equal(values(fast.predict(text)), batch_values(answers)[i]), text


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("norm", ["l1", "l2", None])
def test_a_large_vocabulary(classes: int, norm: Any, tmp_path: Path) -> None:
    """Rows of which almost all numbers are zero, and one of which few are."""
    rng = np.random.default_rng(3)
    words = np.array(["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(1500)])
    train = [" ".join(rng.choice(words, 60)) for _ in range(400)]
    labels = rng.integers(0, classes, 400)
    vectorizer = TfidfVectorizer(token_pattern=r"[a-zA-Z]+", norm=norm)
    estimator = make_pipeline(vectorizer, LogisticRegression()).fit(train, labels)
    assert len(estimator[0].vocabulary_) >= 1024
    fast, _ = converted(tmp_path / "model.onnx", estimator, np.array(train))
    assert fast.info().fast_path
    texts = np.array([*train[:50], *ODD, " ".join(words), train[3] + " unseen"], dtype=object)
    answers = fast.predict_batch(texts)
    np.testing.assert_allclose(answers.probabilities, estimator.predict_proba(texts), atol=1e-6)
    graph = by_the_graph(fast, {fast.signature.inputs[0].name: texts})
    assert np.array_equal(np.asarray(answers.probabilities, np.float32), graph)
    for i in (0, 50, 56, len(texts) - 2, len(texts) - 1, 0):
        assert np.array_equal(values(fast.predict(texts[i])), batch_values(answers)[i]), i


def test_counts_are_answered_themselves(tmp_path: Path) -> None:
    """A vectorizer without a model after it."""
    vectorizer = TfidfVectorizer(token_pattern=r"[a-zA-Z]+").fit(TEXTS)
    path = tmp_path / "model.onnx"
    ms.convert(make_pipeline(vectorizer), path, sample=np.array(TEXTS))
    model = ms.load(path)
    texts = np.array(TEXTS + ODD, dtype=object)
    want = vectorizer.transform(texts).toarray()
    for _ in range(2):
        np.testing.assert_allclose(model.predict_batch(texts).predictions, want, atol=1e-6)


def test_named_rows_of_a_single_input(tmp_path: Path) -> None:
    x = frame()[["age", "income", "visits"]].fillna(1.0)
    y = (x.visits > 4).astype(int)
    estimator = HistGradientBoostingClassifier(max_iter=5).fit(x.to_numpy(), y)
    path = tmp_path / "model.onnx"
    ms.convert(estimator, path, sample=x.to_numpy())
    model = ms.load(path, feature_names=list(x.columns))
    assert model.info().fast_path
    want = model.predict_batch(x.to_numpy()).probabilities
    assert np.array_equal(model.predict_batch(x).probabilities, want)
    for i in range(0, ROWS, 11):
        row = {name: x[name].iloc[i].item() for name in x}
        for same in (row, dict(reversed(row.items())), {k: np.float64(v) for k, v in row.items()}):
            assert np.array_equal(model.predict(same).probabilities, want[i])
    with pytest.raises(ms.InvalidInputError, match="income"):
        model.predict({"age": 1.0, "visits": 2})
    with pytest.raises(ms.InvalidInputError, match="weight"):
        model.predict({"age": 1.0, "visits": 2, "weight": 3})
