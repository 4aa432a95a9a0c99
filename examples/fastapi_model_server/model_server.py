"""A model server: FastAPI in front, the model in this process.

uvicorn --app-dir examples/fastapi_model_server model_server:app

The environment may say where the models lie (`MODEL_ROOT`, the bundled ones by default) and which
bearer token lets a request load another version (`MODEL_SERVER_TOKEN`; without one, none does).
"""

from __future__ import annotations

import os
from pathlib import Path

import modelserve as ms
from modelserve.fastapi import create_app

ROOT = Path(os.environ.get("MODEL_ROOT", Path(__file__).resolve().parent / "models"))
TOKEN = os.environ.get("MODEL_SERVER_TOKEN") or None


def load_models() -> ms.ModelManager:
    """Called when the server starts; what it raises ends the start."""
    manager = ms.ModelManager(keep_versions=2)
    manager.load("iris", ROOT / "iris" / "1" / "model.onnx")
    return manager


app = create_app(
    load_models,
    title="ML Model Server",
    description="Production model serving API",
    version="1.0.0",
    cors_origins=["*"],
    default_model="iris",
    management=TOKEN is not None,
    token=TOKEN,
    root=ROOT,
)
