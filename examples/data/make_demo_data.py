"""Trains the demonstration's model in two versions and writes the test set with scikit-learn's
own answers.

    python examples/data/make_demo_data.py

Needs numpy, scikit-learn and skl2onnx.
"""

import csv
import pathlib

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
MODEL = "breast_cancer"
SEED = 7

data = load_breast_cancer()
labels = data.target_names[data.target]
x, xt, y, yt = train_test_split(
    data.data.astype(np.float32), labels, test_size=0.3, random_state=SEED, stratify=labels
)
versions = {
    1: make_pipeline(StandardScaler(), LogisticRegression()),
    2: RandomForestClassifier(30, max_depth=5, random_state=SEED),
}

columns = {name: xt[:, i] for i, name in enumerate(data.feature_names)}
columns["diagnosis"] = yt
for version, model in versions.items():
    model.fit(x, y)
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    onnx = to_onnx(
        model,
        x[:1],
        options={id(final): {"zipmap": False}},
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    # The converter's order depends on the process's hash seed.
    onnx.opset_import.sort(key=lambda opset: opset.domain)
    folder = HERE / "models" / MODEL / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    columns[f"v{version} label"] = model.predict(xt)
    probabilities = model.predict_proba(xt).astype(np.float32)
    for name, column in zip(model.classes_, probabilities.T, strict=True):
        columns[f"v{version} probability {name}"] = column
    print(f"version {version}: accuracy {model.score(xt, yt):.4f} on {len(xt)} rows")

with open(HERE / f"{MODEL}_test.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    # str() of a float32 is the shortest decimal that reads back to the same float32.
    writer.writerows([str(v) for v in row] for row in zip(*columns.values(), strict=True))
