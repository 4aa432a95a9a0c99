"""What is measured: one `Case` a model, with its files and its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

#: The rows that single calls go through in turn: with one row only, each branch of a tree would
#: be foreseen and each node be in the first cache.
SINGLE_ROWS = 64
#: Rows of the largest batch.
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Kind:
    """One line of models in the table, before its sizes are drawn."""

    key: str
    title: str
    #: `sklearn`, `xgboost` or `lightgbm`.
    library: str
    #: `linear`, `mlp`, `trees`, `isolation`, `frame` or `text`.
    family: str


KINDS = (
    Kind("logistic", "logistic regression", "sklearn", "linear"),
    Kind("scaled", "scaler + logistic", "sklearn", "linear"),
    Kind("mlp", "MLP 64-128-64-10", "sklearn", "mlp"),
    Kind("forest100", "forest 100 x 8", "sklearn", "trees"),
    Kind("forest500", "forest 500 x 12", "sklearn", "trees"),
    Kind("xgboost", "XGBoost 500 x 6", "xgboost", "trees"),
    Kind("lightgbm", "LightGBM 500 x 31 leaves", "lightgbm", "trees"),
    Kind("isolation", "isolation forest", "sklearn", "isolation"),
    Kind("frame", "imputer + one-hot + scaler + forest", "sklearn", "frame"),
    Kind("text", "tf-idf + linear", "sklearn", "text"),
)


@dataclass(frozen=True)
class Case:
    """A trained model in its folder."""

    kind: Kind
    folder: Path
    #: The sizes that the seed drew: features, trees, depth…
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, kind: Kind, folder: Path) -> Case:
        """The case that `models.train` left in `folder`."""
        return cls(kind, folder, json.loads((folder / "facts.json").read_text()))

    @property
    def converted(self) -> Path:
        """The model as `modelserve.convert` writes it."""
        return self.folder / "model.onnx"

    @property
    def onnx(self) -> Path:
        """The model as skl2onnx or onnxmltools writes it, which is what other runtimes read."""
        return self.folder / "peer.onnx"

    @property
    def native(self) -> Path | None:
        """The file of the library that trained it, where that is no pickle."""
        names = {"xgboost": "model.ubj", "lightgbm": "model.txt"}
        name = names.get(self.kind.library)
        return self.folder / name if name else None

    @property
    def pickle(self) -> Path:
        """The estimator itself."""
        return self.folder / "estimator.pkl"

    @property
    def is_matrix(self) -> bool:
        """Whether rows are numbers of one width."""
        return self.kind.family not in ("frame", "text")

    @cached_property
    def rows(self) -> Any:
        """The rows to predict: a float32 matrix, a frame, or texts."""
        return joblib.load(self.folder / "rows.pkl")

    def estimator(self) -> Any:
        """The trained estimator."""
        return joblib.load(self.pickle)

    def first(self, count: int) -> Any:
        """The first `count` rows."""
        return self.rows.iloc[:count] if self.kind.family == "frame" else self.rows[:count]

    def columns(self, rows: Any) -> dict[str, NDArray[Any]]:
        """A frame's columns as arrays `[n, 1]`, as onnxruntime takes them."""
        return {
            name: np.asarray(
                rows[name].to_numpy(),
                dtype=np.float32 if rows[name].dtype.kind == "f" else object,
            ).reshape(-1, 1)
            for name in rows.columns
        }

    def nodes(self) -> int:
        """About how many nodes the trees have together; 0 where there are none."""
        return int(self.facts.get("nodes", 0))
