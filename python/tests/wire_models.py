"""The models that the tests of test_wire_checklist*.py ask by HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import onnx_graphs
from conftest import case
from onnx import TensorProto as T
from uvicorn_server import Server
from wire_client import Wire

import modelserve as ms

#: Models that answer their inputs: element types, output names and dimensions.
ECHOES: dict[str, dict[str, tuple[int, str, list[int | None]]]] = {
    "pair": {"a": (T.FLOAT, "y", [None, 2])},
    "two": {"a": (T.FLOAT, "c", [None, 2]), "b": (T.INT64, "d", [None])},
    "text": {"s": (T.STRING, "t", [None])},
    "bytes": {"s": (T.STRING, "t", [None]), "u": (T.STRING, "v_bytes", [None])},
    "float": {"x": (T.FLOAT, "y", [None])},
    "double": {"x": (T.DOUBLE, "y", [None])},
    "scalar": {"x": (T.FLOAT, "y", [])},
    "word": {"s": (T.STRING, "t", [])},
}
KINDS = {
    "int8": (T.INT8, "INT8"),
    "int16": (T.INT16, "INT16"),
    "int32": (T.INT32, "INT32"),
    "int64": (T.INT64, "INT64"),
    "uint8": (T.UINT8, "UINT8"),
    "uint16": (T.UINT16, "UINT16"),
    "uint32": (T.UINT32, "UINT32"),
    "uint64": (T.UINT64, "UINT64"),
    "bool": (T.BOOL, "BOOL"),
    "string": (T.STRING, "STRING"),
    "half": (T.FLOAT16, "HALF"),
    "bfloat16": (T.BFLOAT16, "BFLOAT16"),
    "float": (T.FLOAT, "FLOAT"),
    "double": (T.DOUBLE, "DOUBLE"),
}


def _manager() -> ms.ModelManager:
    """Versions of "iris": 1 (labelled), 2 (which serves), 3 (unloaded) and 4 (broken)."""
    manager = ms.ModelManager(keep_versions=4)
    manager.load("iris", case("iris_v1").path)
    manager.load_version("iris", case("iris_v2").path)
    manager.load_version("iris", case("iris_v2").path)
    manager.set_label("iris", "stable", 1)
    manager.set_label("iris", "st-able", 1)
    manager.serve("iris", 2)
    manager.unload_version("iris", 3)
    with suppress(ms.InvalidModelError):
        manager.load_version("iris", b"no model")
    manager.load("half.two", case("iris_v1").path)
    for name, tensors in ECHOES.items():
        manager.load(name, onnx_graphs.echo(**tensors))
    for name, (kind, _) in KINDS.items():
        if name not in ECHOES:
            manager.load(name, onnx_graphs.echo(x=(kind, "y", [None])))
    manager.load("uneven", onnx_graphs.constants(p=np.arange(2), q=np.arange(3)))
    manager.load("busy", onnx_graphs.busy())
    return manager


@contextmanager
def listening(app: ms.hosts.AsgiApplication) -> Iterator[Wire]:
    """A client of a server of an application."""
    server = Server(app)
    wire = Wire(server.url)
    try:
        yield wire
    finally:
        wire.close()
        server.stop()


@contextmanager
def served() -> Iterator[tuple[Wire, ms.ModelManager]]:
    """A client of a server of all these models, and their manager."""
    manager = _manager()
    with listening(ms.asgi(manager, max_rows=1000, default_model="iris")) as wire:
        yield wire, manager


def no_versions(name: str) -> str:
    """What the status of an unknown model says."""
    return f"Could not find any versions of model {name}"
