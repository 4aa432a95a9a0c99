"""FastAPI with this library's router."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI

import modelserve as ms
from modelserve.fastapi import router

manager = ms.ModelManager()
manager.load("forest", Path(os.environ["MODEL_DIR"]) / "model.onnx")
app = FastAPI()
app.include_router(router(manager, default_model="forest"))
