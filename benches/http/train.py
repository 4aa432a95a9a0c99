"""The forest that all servers answer with: pickled for one, as ONNX for the others."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

import modelserve as ms


def train(folder: Path, batch: int) -> None:
    """Writes model.pkl, model.onnx, and the requests one.json and batch.json into `folder`."""
    data = load_breast_cancer()
    rows = data.data.astype(np.float32)
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=1)
    forest.fit(rows, data.target)
    (folder / "model.pkl").write_bytes(pickle.dumps(forest))
    ms.convert(forest, folder / "model.onnx", sample=rows)
    (folder / "one.json").write_text(json.dumps({"features": rows[0].tolist()}))
    (folder / "batch.json").write_text(json.dumps({"instances": rows[:batch].tolist()}))
