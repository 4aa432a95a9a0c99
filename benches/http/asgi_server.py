"""This library's own ASGI application, without a web framework."""

from __future__ import annotations

import os
from pathlib import Path

import modelserve as ms

manager = ms.ModelManager()
manager.load("forest", Path(os.environ["MODEL_DIR"]) / "model.onnx")
app = ms.asgi(manager, default_model="forest")
