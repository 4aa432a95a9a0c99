"""Isotonic calibration: skl2onnx takes the nearest point where scikit-learn interpolates."""

from __future__ import annotations

from typing import Any

import numpy as np

from .emit import call, cast
from .native import labels_of
from .sklgraph import SklGraph


def is_isotonic(estimator: Any) -> bool:
    """Whether it is a classifier with isotonic calibration."""
    return type(estimator).__name__ == "CalibratedClassifierCV" and estimator.method == "isotonic"


def convert_isotonic(scope: Any, operator: Any, container: Any) -> None:
    """Writes the nodes of such a classifier (skl2onnx's converter)."""
    from skl2onnx.common.data_types import DoubleTensorType

    model = operator.raw_operator
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    dtype = np.dtype(np.float64 if double else np.float32)
    graph = SklGraph(scope, container)
    members = [
        _member(graph, scope, operator, container, member, dtype)
        for member in model.calibrated_classifiers_
    ]
    total = members[0]
    for other in members[1:]:
        total = call(graph, "Add", total, other)
    shares = operator.outputs[1].full_name
    graph.node("Div", [total, graph.constant(np.array(len(members), dtype))], [shares])
    best = call(graph, "ArgMax", shares, axis=1, keepdims=0)
    labels = labels_of(model.classes_, type(model).__name__)
    table = graph.constant(labels.astype(str) if labels.dtype.kind == "O" else labels)
    graph.node("Gather", [table, best], [operator.outputs[0].full_name], axis=0)


def _member(
    graph: SklGraph, scope: Any, operator: Any, container: Any, member: Any, dtype: Any
) -> str:
    """The probabilities of one calibrated classifier."""
    from skl2onnx._supported_operators import get_model_alias
    from skl2onnx.common.data_types import Int64TensorType

    base = member.estimator
    count = len(member.classes)
    if len(member.calibrators) != (1 if count == 2 else count):
        raise NotImplementedError("a calibrated classifier that has not seen all classes")
    inner = scope.declare_local_operator(get_model_alias(type(base)), base)
    # scikit-learn calibrates margins where there are some, else probabilities.
    if hasattr(base, "decision_function") and container.has_options(base, "raw_scores"):
        container.add_options(id(base), {"raw_scores": True})
        scope.add_options(id(base), {"raw_scores": True})
    inner.inputs = operator.inputs
    scores = scope.declare_local_variable("scores", operator.inputs[0].type.__class__())
    inner.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    inner.outputs.append(scores)
    columns = [1] if count == 2 else range(count)
    calibrated = [
        _curve(graph, scores.full_name, column, calibrator, dtype)
        for column, calibrator in zip(columns, member.calibrators, strict=True)
    ]
    one = graph.constant(np.array(1.0, dtype))
    if count == 2:
        return call(graph, "Concat", call(graph, "Sub", one, *calibrated), *calibrated, axis=1)
    each = call(graph, "Concat", *calibrated, axis=1)
    axis = graph.constant(np.array([1], np.int64))
    total = call(graph, "ReduceSum", each, axis)
    none = call(graph, "Equal", total, graph.constant(np.array(0.0, dtype)))
    shares = call(graph, "Div", each, call(graph, "Where", none, one, total))
    return call(graph, "Where", none, graph.constant(np.array(1 / count, dtype)), shares)


def _curve(graph: SklGraph, scores: str, column: int, calibrator: Any, dtype: Any) -> str:
    """One column of the scores on its curve: straight lines between points, level outside."""
    x = np.asarray(calibrator.X_thresholds_, dtype)
    y = np.asarray(calibrator.y_thresholds_, dtype)
    if len(x) == 1:
        x, y = np.array([x[0], np.nextafter(x[0], np.inf)], dtype), np.repeat(y, 2)
    t = call(graph, "Gather", scores, graph.constant(np.array([column], np.int64)), axis=1)
    t = call(graph, "Min", t, graph.constant(np.array(x[-1], dtype)))
    t = call(graph, "Max", t, graph.constant(np.array(x[0], dtype)))
    above = call(graph, "GreaterOrEqual", t, graph.constant(x[1:-1].reshape(1, -1)))
    axis = graph.constant(np.array([1], np.int64))
    place = call(graph, "ReduceSum", cast(graph, above, np.dtype(np.int64)), axis)
    start = call(graph, "Gather", graph.constant(x[:-1]), place, axis=0)
    low = call(graph, "Gather", graph.constant(y[:-1]), place, axis=0)
    slope = call(graph, "Gather", graph.constant(np.diff(y) / np.diff(x)), place, axis=0)
    return call(graph, "Add", call(graph, "Mul", slope, call(graph, "Sub", t, start)), low)
