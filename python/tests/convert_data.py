"""Data and comparisons of the tests of conversion."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

import modelserve as ms

# Small models on several threads wait for each other more than they compute.
if importlib.util.find_spec("threadpoolctl"):
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)

TOLERANCES = {"float32": 1e-6, "float64": 1e-12}


class Data:
    """The data sets that scikit-learn brings along, whole and with holes."""

    def __init__(self) -> None:
        from sklearn import datasets

        rng = np.random.default_rng(7)
        self.iris, self.species = datasets.load_iris(return_X_y=True)
        self.cancer, self.malign = datasets.load_breast_cancer(return_X_y=True)
        self.diabetes, self.progress = datasets.load_diabetes(return_X_y=True)
        self.wine, self.cultivar = datasets.load_wine(return_X_y=True)
        self.names = np.array(["setosa", "versicolor", "virginica"])[self.species]
        self.two_targets = np.stack([self.progress, np.sqrt(self.progress)], axis=1)
        self.weights = rng.random(len(self.progress)) + 0.1
        self.holed = holes(self.diabetes, rng)
        self.holed_iris = holes(self.iris, rng)
        self.share = self.progress / 400
        self.groups = np.repeat(np.arange(35), 13)[: len(self.progress)]
        self.grades = (self.progress // 60).astype(int)
        self.codes = self.holed.copy()
        self.codes[:, 1] = rng.integers(0, 9, len(self.codes)) * 3
        self.codes[:, 4] = rng.integers(0, 5, len(self.codes))
        self.codes[rng.random(len(self.codes)) < 0.1, 1] = np.nan

    def frame(self, *, missing: bool) -> Any:
        """Numbers, texts and whole numbers as categories, and plain whole numbers."""
        import pandas as pd

        rng = np.random.default_rng(3)
        n = len(self.progress)
        frame = pd.DataFrame(
            {
                "bmi": self.diabetes[:, 2],
                "city": pd.Categorical(rng.choice(["Aix", "Brno", "Cádiz", "Delft"], n)),
                "plan": pd.Categorical(rng.choice([10, 20, 30], n)),
                "visits": rng.integers(0, 9, n),
            }
        )
        if missing:
            frame.loc[::7, "bmi"] = np.nan
            frame.loc[::6, "city"] = None
            frame.loc[::5, "plan"] = None
        return frame

    def by_category(self, frame: Any) -> Any:
        """A target that the categories matter for."""
        city = frame["city"].astype(object).fillna("Aix")
        return self.progress + 90.0 * (city == "Brno") + 200.0 * (frame["plan"].astype(float) == 20)


def holes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The array with a tenth of its values missing."""
    holed = x.copy()
    holed[rng.random(x.shape) < 0.1] = np.nan
    return holed


def odd_rows(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows between, far from and infinitely far from those of `x`, in random mixtures."""
    rng = np.random.default_rng(seed)
    low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    rows = rng.uniform(low - 1, high + 1, (200, x.shape[1]))
    taken = rng.integers(0, len(x), rows.shape)
    return np.where(rng.random(rows.shape) < 0.7, x[taken, np.arange(x.shape[1])], rows)


def assert_labels(model: ms.Model, rows: Any, expected: Any) -> None:
    """Every label is the trainer's."""
    got = np.asarray(model.predict_batch(rows).predictions)
    assert got.tolist() == np.asarray(expected).reshape(got.shape).tolist()


def assert_close(got: Any, expected: Any) -> None:
    """Numbers are the trainer's, within the promise for their type."""
    got = np.asarray(got)
    tolerance = TOLERANCES[got.dtype.name]
    expected = np.asarray(expected, np.float64).reshape(got.shape)
    error = np.abs(got - expected) / np.maximum(1.0, np.abs(expected))
    assert error.max(initial=0.0) <= tolerance


def convert(estimator: Any, folder: Path, sample: Any, ending: str = "onnx", **more: Any) -> Any:
    """Converts to a new file; the model that a fresh load of it gives."""
    path = folder / f"model.{ending}"
    ms.convert(estimator, path, sample=sample, **more)
    return ms.load(path)
