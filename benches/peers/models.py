"""Trains the models of the table, their widths and depths drawn by the seed, and keeps them."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from cases import MOST_ROWS, Case, Kind
from numpy.typing import NDArray

import modelserve as ms

#: Written into each folder: models of another recipe are trained again.
RECIPE = 2


class Draw:
    """Sizes around the table's, drawn by the seed, and remembered."""

    def __init__(self, seed: int, key: str) -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        self.facts: dict[str, Any] = {}

    def size(self, name: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        self.facts[name] = int(self.rng.integers(low, high + 1))
        return int(self.facts[name])

    def matrix(self, rows: int, width: int) -> NDArray[np.float32]:
        """Rows of normal values."""
        return self.rng.normal(size=(rows, width)).astype(np.float32)

    def labels(self, x: NDArray[np.float32], classes: int) -> NDArray[np.int64]:
        """Labels that no tree learns at once: curved, and one in ten of them wrong."""
        width = x.shape[1]
        directions = self.rng.normal(size=(width, classes))
        pairs = self.rng.integers(0, width, size=(2, 6))
        score = np.sin(x @ directions)
        score[:, 0] += (x[:, pairs[0]] * x[:, pairs[1]]).sum(axis=1) / 4
        labels = score.argmax(axis=1)
        wrong = self.rng.random(len(x)) < 0.1
        labels[wrong] = self.rng.integers(0, classes, wrong.sum())
        return np.asarray(labels, dtype=np.int64)


Trained = tuple[Any, Any]  # the estimator and the rows to predict


def _logistic(draw: Draw, samples: int) -> Trained:
    from sklearn.linear_model import LogisticRegression

    width = draw.size("features", 24, 40)
    x = draw.matrix(samples, width)
    model = LogisticRegression(max_iter=200).fit(x, draw.labels(x, 2))
    return model, draw.matrix(MOST_ROWS, width)


def _scaled(draw: Draw, samples: int) -> Trained:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    width = draw.size("features", 24, 40)
    classes = draw.size("classes", 2, 4)
    spread = draw.rng.uniform(0.5, 20, width).astype(np.float32)
    x = draw.matrix(samples, width)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return model.fit(x * spread, draw.labels(x, classes)), draw.matrix(MOST_ROWS, width) * spread


def _mlp(draw: Draw, samples: int) -> Trained:
    from sklearn.neural_network import MLPClassifier

    width = draw.size("features", 56, 72)
    hidden = (draw.size("hidden 1", 112, 144), draw.size("hidden 2", 56, 72))
    classes = draw.size("classes", 9, 11)
    x = draw.matrix(samples, width)
    model = MLPClassifier(hidden, max_iter=8, random_state=0)
    return model.fit(x, draw.labels(x, classes)), draw.matrix(MOST_ROWS, width)


def _forest(draw: Draw, samples: int, trees: int, depth: int, classes: int) -> Trained:
    from sklearn.ensemble import RandomForestClassifier

    width = draw.size("features", 24, 40)
    trees = draw.size("trees", trees * 9 // 10, trees * 11 // 10)
    depth = draw.size("depth", depth - 1, depth + 1)
    x = draw.matrix(samples, width)
    model = RandomForestClassifier(trees, max_depth=depth, random_state=0, n_jobs=-1)
    model.fit(x, draw.labels(x, classes))
    draw.facts["nodes"] = sum(tree.tree_.node_count for tree in model.estimators_)
    return model, draw.matrix(MOST_ROWS, width)


def _forest100(draw: Draw, samples: int) -> Trained:
    return _forest(draw, samples, 100, 8, 2)


def _forest500(draw: Draw, samples: int) -> Trained:
    return _forest(draw, samples, 500, 12, 3)


def _xgboost(draw: Draw, samples: int) -> Trained:
    from xgboost import XGBClassifier

    width = draw.size("features", 24, 40)
    trees = draw.size("trees", 450, 550)
    depth = draw.size("depth", 5, 7)
    x = draw.matrix(samples, width)
    model = XGBClassifier(n_estimators=trees, max_depth=depth, learning_rate=0.05, n_jobs=1)
    model.fit(x, draw.labels(x, 2))
    draw.facts["nodes"] = len(model.get_booster().trees_to_dataframe())
    return model, draw.matrix(MOST_ROWS, width)


def _lightgbm(draw: Draw, samples: int) -> Trained:
    from lightgbm import LGBMClassifier

    width = draw.size("features", 24, 40)
    trees = draw.size("trees", 450, 550)
    leaves = draw.size("leaves", 27, 35)
    x = draw.matrix(samples, width)
    model = LGBMClassifier(
        n_estimators=trees, num_leaves=leaves, learning_rate=0.05, random_state=0, verbose=-1
    )
    model.fit(x, draw.labels(x, 2))
    draw.facts["nodes"] = trees * (2 * leaves - 1)
    return model, draw.matrix(MOST_ROWS, width)


def _isolation(draw: Draw, samples: int) -> Trained:
    from sklearn.ensemble import IsolationForest

    width = draw.size("features", 24, 40)
    trees = draw.size("trees", 90, 110)
    # 256 rows a tree is scikit-learn's default.
    model = IsolationForest(n_estimators=trees, random_state=0, n_jobs=-1).fit(
        draw.matrix(samples, width)
    )
    draw.facts["nodes"] = sum(tree.tree_.node_count for tree in model.estimators_)
    return model, draw.matrix(MOST_ROWS, width)


def _frame(draw: Draw, samples: int) -> Trained:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [f"n{i}" for i in range(draw.size("numbers", 8, 12))]
    texts = [f"t{i}" for i in range(draw.size("strings", 3, 5))]
    levels = [f"level {i}" for i in range(draw.size("levels", 8, 16))]
    trees = draw.size("trees", 90, 110)
    depth = draw.size("depth", 7, 9)

    def frame(x: NDArray[np.float32]) -> Any:
        holes = x.copy()
        holes[draw.rng.random(x.shape) < 0.05] = np.nan
        made = pd.DataFrame(holes, columns=numbers)
        for name in texts:
            made[name] = pd.Series(draw.rng.choice(levels, len(x)), dtype=object)
        return made

    x = draw.matrix(samples, len(numbers))
    transform = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    )
    forest = RandomForestClassifier(trees, max_depth=depth, random_state=0, n_jobs=-1)
    model = make_pipeline(transform, forest).fit(frame(x), draw.labels(x, 2))
    return model, frame(draw.matrix(MOST_ROWS, len(numbers)))


def _text(draw: Draw, samples: int) -> Trained:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    letters = list("abcdefghijklmnopqrstuvwxyz")
    count = draw.size("words", 1800, 2200)
    length = draw.size("words a text", 20, 40)
    words = np.array(
        ["".join(draw.rng.choice(letters, draw.rng.integers(3, 9))) for _ in range(count)],
        dtype=object,
    )
    # Some words are common and most are rare, as in a language.
    weights = 1 / np.arange(1, count + 1)
    weights /= weights.sum()

    def texts(rows: int) -> NDArray[Any]:
        drawn = draw.rng.choice(count, size=(rows, length), p=weights)
        return np.array([" ".join(words[line]) for line in drawn], dtype=object)

    train = texts(min(samples, 5000))
    labels = np.array([sum(map(len, text.split())) % 2 for text in train])
    model = make_pipeline(
        TfidfVectorizer(token_pattern=r"[a-zA-Z]+"), LogisticRegression(max_iter=200)
    )
    return model.fit(train, labels), texts(MOST_ROWS)


TRAINERS: dict[str, Callable[[Draw, int], Trained]] = {
    "logistic": _logistic,
    "scaled": _scaled,
    "mlp": _mlp,
    "forest100": _forest100,
    "forest500": _forest500,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "isolation": _isolation,
    "frame": _frame,
    "text": _text,
}


#: What the public converters are asked for: the newest that all of them know.
OPSETS = {"": 18, "ai.onnx.ml": 3}
BOOSTER_OPSET = 15


def _exported(kind: Kind, estimator: Any, sample: Any) -> Any:
    """The ONNX model that the public converters make."""
    if kind.library in ("xgboost", "lightgbm"):
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        columns = [("X", FloatTensorType([None, sample.shape[1]]))]
        if kind.library == "xgboost":
            return onnxmltools.convert_xgboost(estimator, "", columns, target_opset=BOOSTER_OPSET)
        return onnxmltools.convert_lightgbm(
            estimator, "", columns, target_opset=BOOSTER_OPSET, zipmap=False
        )
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType

    options = {} if kind.family == "isolation" else {id(estimator): {"zipmap": False}}
    if kind.family != "text":
        return to_onnx(estimator, sample[:1], options=options, target_opset=OPSETS)
    columns = [("X", StringTensorType([None]))]
    model = to_onnx(estimator, initial_types=columns, options=options, target_opset=OPSETS)
    _plain_locale(model)
    return model


def _plain_locale(model: Any) -> None:
    """Lets onnxruntime lower letters where en_US.UTF-8 is not installed; the texts are ASCII."""
    import onnx

    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C")])


def train(kind: Kind, seed: int, samples: int, root: Path) -> Case:
    """The case of this seed, from `root` where it was trained before."""
    folder = root / f"seed{seed}-{samples}-recipe{RECIPE}" / kind.key
    if (folder / "facts.json").exists():
        return Case.open(kind, folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.perf_counter()
    draw = Draw(seed, kind.key)
    estimator, rows = TRAINERS[kind.key](draw, samples)
    joblib.dump(estimator, folder / "estimator.pkl")
    joblib.dump(rows, folder / "rows.pkl")
    if kind.library == "xgboost":
        estimator.get_booster().save_model(folder / "model.ubj")
    elif kind.library == "lightgbm":
        estimator.booster_.save_model(folder / "model.txt")
    sample = rows.iloc[:500] if kind.family == "frame" else rows[:500]
    # Whether the answers agree is what `agree.py` says, of every engine alike.
    ms.convert(estimator, folder / "model.onnx", sample=sample, tolerance=1e-3)
    exported = _exported(kind, estimator, sample)
    (folder / "peer.onnx").write_bytes(exported.SerializeToString())
    if kind.family not in ("frame", "text"):
        rows.tofile(folder / "rows.f32")  # for the programs without Python
    draw.facts["trained in s"] = round(time.perf_counter() - started, 1)
    # Last: a folder without it is one whose training was cut off.
    (folder / "facts.json").write_text(json.dumps(draw.facts, indent=1) + "\n")
    return Case.open(kind, folder)
