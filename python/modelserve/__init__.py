"""The serving layer as a library: load, predict, and hot-reload models inside your own process.

>>> import modelserve as ms
>>> manager = ms.ModelManager()
>>> iris = manager.load("iris", "iris.onnx")  # doctest: +SKIP
>>> manager.predict("iris", [5.1, 3.5, 1.4, 0.2]).prediction  # doctest: +SKIP
0
"""

import atexit
import os

from . import _native, policies
from ._native import (
    Events,
    FallbackReason,
    Http,
    Info,
    Model,
    ModelManager,
    Prediction,
    Predictions,
    Receipt,
    Signature,
    Snapshot,
    Stats,
    Tensor,
    TensorSpec,
    VersionStats,
    inspect,
    load,
    replay,
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
from .gate import Gate
from .hosts import asgi, wsgi
from .inspection import (
    ExternalData,
    InspectedBooster,
    InspectedFunction,
    InspectedMeaning,
    InspectedOperator,
    InspectedValue,
    Inspection,
    LayerDescription,
    MemoryEstimate,
    Problem,
    StoredTensor,
    WeightKind,
)
from .logs import disable_logging, enable_logging
from .reports import Event, Explanation, GateReport, MemoryUse, Report, VersionStatus, WorstRow

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "ConversionError",
    "DeadlineExceededError",
    "Event",
    "Events",
    "ExecutionError",
    "Explanation",
    "ExternalData",
    "FallbackReason",
    "Gate",
    "GateReport",
    "Http",
    "Info",
    "InspectedBooster",
    "InspectedFunction",
    "InspectedMeaning",
    "InspectedOperator",
    "InspectedValue",
    "Inspection",
    "InternalError",
    "InvalidArgumentError",
    "InvalidInputError",
    "InvalidModelError",
    "IoError",
    "LayerDescription",
    "LimitExceededError",
    "MemoryEstimate",
    "MemoryUse",
    "Model",
    "ModelManager",
    "ModelServeError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "PermissionDeniedError",
    "Prediction",
    "Predictions",
    "Problem",
    "Receipt",
    "Report",
    "Signature",
    "Snapshot",
    "Stats",
    "StoredTensor",
    "Tensor",
    "TensorSpec",
    "UnsupportedError",
    "VersionStats",
    "VersionStatus",
    "WeightKind",
    "WorstRow",
    "asgi",
    "convert",
    "disable_logging",
    "enable_logging",
    "inspect",
    "load",
    "policies",
    "replay",
    "wsgi",
]

# Threads and locks of the parent mean nothing in a forked child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.after_fork)
# No thread of the library enters Python while it ends.
atexit.register(_native.before_exit)
