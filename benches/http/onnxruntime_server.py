"""FastAPI around ONNX Runtime, written as its users write it: one run gives label and scores."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel


class PredictionRequest(BaseModel):
    features: list[float]
    request_id: str | None = None


class PredictionResponse(BaseModel):
    prediction: float
    probability: float | None = None
    model_version: str
    latency_ms: float
    request_id: str | None = None


class BatchPredictionRequest(BaseModel):
    instances: list[list[float]]
    request_id: str | None = None


options = ort.SessionOptions()
# One process a core is the usual set-up, and what all servers here have.
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(
    Path(os.environ["MODEL_DIR"]) / "model.onnx", options, providers=["CPUExecutionProvider"]
)
NAME = session.get_inputs()[0].name
app = FastAPI()


@app.post("/predict", response_model=PredictionResponse)
async def predict(request: PredictionRequest) -> PredictionResponse:
    start = time.perf_counter()
    row = np.array([request.features], dtype=np.float32)
    label, scores = session.run(None, {NAME: row})
    return PredictionResponse(
        prediction=float(label[0]),
        probability=float(scores[0].max()),
        model_version="1",
        latency_ms=(time.perf_counter() - start) * 1000,
        request_id=request.request_id,
    )


@app.post("/predict/batch")
async def predict_batch(request: BatchPredictionRequest) -> dict[str, Any]:
    labels, scores = session.run(None, {NAME: np.array(request.instances, dtype=np.float32)})
    best = scores.max(axis=1)
    return {
        "predictions": [
            {"prediction": float(label), "probability": float(p)}
            for label, p in zip(labels, best, strict=True)
        ],
        "model_version": "1",
        "batch_size": len(labels),
        "request_id": request.request_id,
    }
