"""Weights of words: skl2onnx has them in float32, and the logarithm of counts otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from .emit import call, cast
from .sklgraph import SklGraph

_COUNTS = "SklearnCountVectorizer"


def is_weighting(estimator: Any) -> bool:
    """Whether it weighs counts of words."""
    return type(estimator).__name__ in ("TfidfVectorizer", "TfidfTransformer")


def weighting_shape(operator: Any, double: bool) -> None:
    """Says what the output is (skl2onnx's shape calculator)."""
    from skl2onnx.common._registration import get_shape_calculator
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    if operator.type == _COUNTS:
        get_shape_calculator(_COUNTS)(operator)
        return
    model = operator.raw_operator
    width = len(model.vocabulary_) if hasattr(model, "vocabulary_") else model.n_features_in_
    real = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = real([None, width])


def convert_weighting(scope: Any, operator: Any, container: Any, double: bool) -> None:
    """Writes the nodes (skl2onnx's converter)."""
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common.data_types import FloatTensorType

    if operator.type == _COUNTS:
        # The counts of a TfidfVectorizer, which is the operator below, too.
        get_converter(_COUNTS)(scope, operator, container)
        return
    model = operator.raw_operator
    counts = operator.inputs[0].full_name
    if hasattr(model, "vocabulary_"):
        inner = scope.declare_local_operator(_COUNTS, model)
        inner.inputs = operator.inputs
        counted = scope.declare_local_variable("counts", FloatTensorType())
        inner.outputs.append(counted)
        counts = counted.full_name
    graph = SklGraph(scope, container)
    dtype = np.dtype(np.float64 if double else np.float32)
    zero, one = (graph.constant(np.array(v, dtype)) for v in (0.0, 1.0))
    x = cast(graph, counts, dtype)
    seen = call(graph, "Greater", x, zero)
    if getattr(model, "binary", False):
        x = cast(graph, seen, dtype)
    if model.sublinear_tf:
        logs = call(graph, "Log", call(graph, "Where", seen, x, one))
        x = call(graph, "Where", seen, call(graph, "Add", logs, one), zero)
    if model.use_idf:
        x = call(graph, "Mul", x, graph.constant(np.asarray(model.idf_, dtype)))
    if model.norm is not None:
        op = "ReduceL2" if model.norm == "l2" else "ReduceL1"
        norm = call(graph, op, x, graph.constant(np.array([1], np.int64)))
        none = call(graph, "Equal", norm, zero)
        x = call(graph, "Div", x, call(graph, "Where", none, one, norm))
    graph.node("Identity", [x], [operator.outputs[0].full_name])
