"""A native operator in a graph, with what it needs around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .native import DOMAIN, Native

#: The attributes with which a `TreeEnsemble` answers with margins.
_MARGINS = {"outcome": "values", "link": "identity"}


class Graph(Protocol):
    """Where nodes go."""

    def name(self, hint: str) -> str:
        """A name that is not taken."""
        ...

    def constant(self, value: NDArray[Any]) -> str:
        """Adds a constant; answers its name."""
        ...

    def node(
        self, op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> None:
        """Adds a node."""
        ...


def _onnx_type(dtype: np.dtype[Any]) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def call(graph: Graph, op: str, *inputs: str, **attributes: Any) -> str:
    """Adds a node with one output; answers the output's name."""
    out = graph.name(op.lower())
    graph.node(op, list(inputs), [out], **attributes)
    return out


def cast(graph: Graph, value: str, dtype: np.dtype[Any]) -> str:
    """Adds a cast."""
    return call(graph, "Cast", value, to=_onnx_type(dtype))


def _attributes(native: Native) -> dict[str, Any]:
    import onnx

    attributes = dict(native.attributes)
    if native.labels is not None:
        attributes |= label_attribute(native)
    return {
        key: onnx.numpy_helper.from_array(value, key) if isinstance(value, np.ndarray) else value
        for key, value in attributes.items()
    }


def label_attribute(native: Native) -> dict[str, Any]:
    """The attribute with the class labels."""
    assert native.labels is not None
    if native.labels.dtype.kind == "O":
        return {"classlabels_strings": [str(c) for c in native.labels]}
    return {"classlabels_int64s": [int(c) for c in native.labels]}


def emit(
    graph: Graph, native: Native, rows: str, outputs: list[str], wide: np.dtype[Any] | None = None
) -> None:
    """Adds the operator: ``rows`` ``[N, F]`` of its type in, ``outputs`` out.

    ``wide`` is the type of the answers, by default the operator's own.
    """
    for value in native.missing:
        nan = graph.constant(np.array(np.nan, native.dtype))
        same = call(graph, "Equal", rows, graph.constant(np.array(value, native.dtype)))
        rows = call(graph, "Where", same, nan, rows)
    answers = outputs[-1]
    other = wide is not None and wide != native.dtype
    if other:
        answers = graph.name("answers")
    given = [*outputs[:-1], answers]
    graph.node(native.operator, [rows], given, domain=DOMAIN, **_attributes(native))
    if other:
        assert wide is not None
        graph.node("Cast", [answers], [outputs[-1]], to=_onnx_type(wide))


def emit_margins(
    graph: Graph, native: Native, rows: str, outputs: list[str], wide: np.dtype[Any]
) -> None:
    """As :func:`emit`, with the margins of classes in place of their probabilities.

    Two classes have one margin, and its opposite for the first of them.
    """
    probabilities = graph.name("probabilities")
    emit(graph, native, rows, [outputs[0], probabilities])
    attributes = native.attributes | _MARGINS
    attributes.pop("link_parameters", None)
    plain = replace(native, attributes=attributes, labels=None)
    margin = graph.name("margin")
    graph.node(native.operator, [rows], [margin], domain=DOMAIN, **_attributes(plain))
    if native.targets == 2 and native.attributes["n_targets"] == 1:
        margin = call(graph, "Concat", call(graph, "Neg", margin), margin, axis=1)
    graph.node("Cast", [margin], [outputs[-1]], to=_onnx_type(wide))
