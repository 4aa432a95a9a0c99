"""Small ONNX models that tests make themselves, where what goes in and out is to be exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: A name, an element type of `TensorProto` and dimensions: None where they vary.
Spec = tuple[str, int, Sequence[int | None]]


def _model(
    nodes: list[Any], inputs: Sequence[Spec], outputs: Sequence[Spec], weights: Any = ()
) -> bytes:
    infos = [[helper.make_tensor_value_info(*spec) for spec in io] for io in (inputs, outputs)]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights]
    graph = helper.make_graph(nodes, "g", *infos, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def echo(**tensors: tuple[int, str, Sequence[int | None]]) -> bytes:
    """Answers inputs as outputs. By the inputs' names: element type, output's name, dimensions."""
    nodes = [helper.make_node("Identity", [name], [out]) for name, (_, out, _) in tensors.items()]
    inputs = [(name, kind, dims) for name, (kind, _, dims) in tensors.items()]
    outputs = [(out, kind, dims) for kind, out, dims in tensors.values()]
    return _model(nodes, inputs, outputs)


def constants(**values: np.ndarray) -> bytes:
    """Answers the same whatever is asked; an output for each value, and one input `x`."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in values.items()}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in values.items()
    ]
    outputs = [(name, kinds[name], value.shape) for name, value in values.items()]
    return _model(nodes, [("x", TensorProto.FLOAT, [None])], outputs)


def busy() -> bytes:
    """Multiplies matrices `rounds` times, as long as that takes; answers a number."""
    info = helper.make_tensor_value_info
    square: Any = (TensorProto.FLOAT, [64, 64])
    flag: Any = (TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("MatMul", ["m", "m"], ["product"]),
        ],
        "body",
        [info("i", TensorProto.INT64, []), info("go", *flag), info("m", *square)],
        [info("on", *flag), info("product", *square)],
    )
    nodes = [
        helper.make_node("Loop", ["rounds", "", "one"], ["last"], body=body),
        helper.make_node("ReduceSum", ["last"], ["sum"], keepdims=0),
    ]
    one = np.eye(64, dtype=np.float32)
    outputs: list[Spec] = [("sum", TensorProto.FLOAT, [])]
    return _model(nodes, [("rounds", TensorProto.INT64, [])], outputs, [("one", one)])
