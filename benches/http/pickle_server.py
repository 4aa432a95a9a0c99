"""The server that many teams have today: FastAPI around a pickled scikit-learn model.

What answers a request is kept as such servers have it, so that it is what is measured.
"""

from __future__ import annotations

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException
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


class ModelManager:
    def __init__(self) -> None:
        self.model: Any = None
        self.model_version = "1.0.0"
        self.total_predictions = 0
        self.executor = ThreadPoolExecutor(max_workers=4)

    def load_model(self, model_path: Path) -> None:
        with open(model_path, "rb") as f:
            self.model = pickle.load(f)

    def predict(self, features: np.ndarray) -> dict[str, Any]:
        start_time = time.time()
        prediction = self.model.predict(features.reshape(1, -1))[0]
        probability = None
        if hasattr(self.model, "predict_proba"):
            probability = float(self.model.predict_proba(features.reshape(1, -1)).max())
        latency = (time.time() - start_time) * 1000
        self.total_predictions += 1
        return {
            "prediction": float(prediction),
            "probability": probability,
            "latency_ms": latency,
        }

    def predict_batch(self, instances: list[np.ndarray]) -> list[dict[str, Any]]:
        predictions = self.model.predict(np.array(instances))
        probabilities = None
        if hasattr(self.model, "predict_proba"):
            probabilities = self.model.predict_proba(np.array(instances))
        self.total_predictions += len(instances)
        return [
            {
                "prediction": float(pred),
                "probability": float(probabilities[i].max()) if probabilities is not None else None,
            }
            for i, pred in enumerate(predictions)
        ]


app = FastAPI()
model_manager = ModelManager()
model_manager.load_model(Path(os.environ["MODEL_DIR"]) / "model.pkl")


@app.post("/predict", response_model=PredictionResponse)
async def predict(request: PredictionRequest) -> PredictionResponse:
    if model_manager.model is None:
        raise HTTPException(status_code=503, detail="Model not loaded")
    result = model_manager.predict(np.array(request.features))
    return PredictionResponse(
        prediction=result["prediction"],
        probability=result["probability"],
        model_version=model_manager.model_version,
        latency_ms=result["latency_ms"],
        request_id=request.request_id,
    )


@app.post("/predict/batch")
async def predict_batch(request: BatchPredictionRequest) -> dict[str, Any]:
    if model_manager.model is None:
        raise HTTPException(status_code=503, detail="Model not loaded")
    results = model_manager.predict_batch([np.array(inst) for inst in request.instances])
    return {
        "predictions": results,
        "model_version": model_manager.model_version,
        "batch_size": len(results),
        "request_id": request.request_id,
    }
