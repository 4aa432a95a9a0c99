"""An ONNX file around one native operator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .emit import call, cast, emit
from .native import DOMAIN, Native
from .samples import is_frame

#: Operator sets of the files that are written.
OPSET = {"": 18, "ai.onnx.ml": 3}


class OnnxGraph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def name(self, hint: str) -> str:
        """A name that is not taken."""
        self._count += 1
        return f"{hint}_{self._count}"

    def constant(self, value: NDArray[Any]) -> str:
        """Adds a constant; answers its name."""
        import onnx

        name = self.name("constant")
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(
        self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> None:
        """Adds a node."""
        import onnx

        node = onnx.helper.make_node(op, inputs, outputs, domain=domain)
        for key, value in attributes.items():
            node.attribute.append(onnx.helper.make_attribute(key, value))
        self.nodes.append(node)


def container(native: Native, sample: Any) -> Any:
    """The ONNX file of an operator alone.

    It has one input for all features, or one a column where rows hold categories as labels.
    """
    import onnx

    graph = OnnxGraph()
    kind = onnx.helper.np_dtype_to_tensor_dtype(native.dtype)
    value_info = onnx.helper.make_tensor_value_info
    if native.categories:
        inputs, rows = _columns(graph, native, sample)
    else:
        rows = "X"
        inputs = [value_info(rows, kind, ["N", native.features])]
    outputs = native.outputs
    emit(graph, native, rows, outputs)
    shown = []
    if native.labels is not None:
        text = native.labels.dtype.kind == "O"
        label = onnx.TensorProto.STRING if text else onnx.TensorProto.INT64
        shown.append(value_info(outputs[0], label, ["N"]))
    columns = 1 if native.outcome == "outlier" else native.targets
    shown.append(value_info(outputs[-1], kind, ["N", columns]))
    proto = onnx.helper.make_graph(graph.nodes, "modelserve", inputs, shown, graph.constants)
    opsets = [onnx.helper.make_opsetid(k, v) for k, v in (OPSET | {DOMAIN: 1}).items()]
    return onnx.helper.make_model(
        proto, opset_imports=opsets, producer_name="modelserve", ir_version=8
    )


def _columns(graph: OnnxGraph, native: Native, sample: Any) -> tuple[list[Any], str]:
    """One input a column, and the rows that are made of them."""
    import onnx

    if is_frame(sample):
        names = [str(name) for name in sample.columns]
    else:
        names = native.names or [f"x{i}" for i in range(native.features)]
    inputs, columns = [], []
    for place, name in enumerate(names):
        labels = native.categories.get(place)
        text = labels is not None and labels.dtype.kind == "O"
        kind = np.dtype(object) if text else native.dtype
        ty = onnx.helper.np_dtype_to_tensor_dtype(kind)
        inputs.append(onnx.helper.make_tensor_value_info(name, ty, ["N", 1]))
        columns.append(name if labels is None else _codes(graph, name, labels, native.dtype))
    return inputs, call(graph, "Concat", *columns, axis=1)


def _codes(graph: OnnxGraph, column: str, labels: NDArray[Any], dtype: np.dtype[Any]) -> str:
    """Labels to their place in the list; others to NaN."""
    if labels.dtype.kind == "O":
        keys = [str(label) for label in labels]
        found = graph.name("codes")
        graph.node(
            "LabelEncoder",
            [column],
            [found],
            domain="ai.onnx.ml",
            keys_strings=keys,
            values_floats=[float(i) for i in range(len(keys))],
            default_float=float("nan"),
        )
        return found if dtype == np.float32 else cast(graph, found, dtype)
    # LabelEncoder knows numbers in float32 only: which label is it, and is it one at all?
    same = call(graph, "Equal", column, graph.constant(labels.astype(dtype).reshape(1, -1)))
    hits = cast(graph, same, dtype)
    places = graph.constant(np.arange(len(labels), dtype=dtype).reshape(-1, 1))
    place = call(graph, "MatMul", hits, places)
    any_hit = call(graph, "MatMul", hits, graph.constant(np.ones((len(labels), 1), dtype)))
    none = call(graph, "Equal", any_hit, graph.constant(np.array(0.0, dtype)))
    return call(graph, "Where", none, graph.constant(np.array(np.nan, dtype)), place)
