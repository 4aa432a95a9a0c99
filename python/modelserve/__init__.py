"""The serving layer as a library: load, predict, and hot-reload models inside your own process.

>>> import modelserve as ms
>>> manager = ms.ModelManager()
>>> iris = manager.load("iris", "iris.onnx")  # doctest: +SKIP
>>> manager.predict("iris", [5.1, 3.5, 1.4, 0.2]).prediction  # doctest: +SKIP
0
"""

from ._native import (
    Info,
    Model,
    ModelManager,
    Prediction,
    Predictions,
    Signature,
    Stats,
    TensorSpec,
    VersionStats,
    load,
)
from .convert import convert
from .errors import (
    AlreadyExistsError,
    CancelledError,
    ConversionError,
    DeadlineExceededError,
    ExecutionError,
    InternalError,
    InvalidArgumentError,
    InvalidInputError,
    InvalidModelError,
    IoError,
    LimitExceededError,
    ModelServeError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    PermissionDeniedError,
    UnsupportedError,
)

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "ConversionError",
    "DeadlineExceededError",
    "ExecutionError",
    "Info",
    "InternalError",
    "InvalidArgumentError",
    "InvalidInputError",
    "InvalidModelError",
    "IoError",
    "LimitExceededError",
    "Model",
    "ModelManager",
    "ModelServeError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "PermissionDeniedError",
    "Prediction",
    "Predictions",
    "Signature",
    "Stats",
    "TensorSpec",
    "UnsupportedError",
    "VersionStats",
    "convert",
    "load",
]
