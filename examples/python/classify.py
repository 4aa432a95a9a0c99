"""Serve a classifier, predict a row and a file of rows, and replace it while it serves.

python examples/python/classify.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import modelserve as ms

DATA = Path(__file__).resolve().parents[1] / "data"


def main() -> None:
    manager = ms.ModelManager()
    model = manager.load("cancer", DATA / "models" / "breast_cancer" / "1" / "model.onnx")
    print(model)

    table = np.genfromtxt(DATA / "breast_cancer_test.csv", delimiter=",", skip_header=1)
    rows = table[:, : model.signature.inputs[0].shape[-1]]  # type: ignore[index]

    one = model.predict(rows[0])
    print(f"label {one.prediction}, probability {one.probability}, {one.latency_ms:.3f} ms")

    batch = model.predict_batch(rows)
    labels, counts = np.unique(batch.predictions, return_counts=True)
    by_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    print(f"{len(batch)} rows by version {batch.model_version}: {by_label}")

    manager.reload("cancer", DATA / "models" / "breast_cancer" / "2" / "model.onnx")
    print("after the reload version", model.predict(rows[0]).model_version, "answers")


if __name__ == "__main__":
    main()
