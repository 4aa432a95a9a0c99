"""A case: a few nodes with what goes in, and the models that many cases make together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.printer
from onnx import TensorProto, helper, numpy_helper

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)
#: Types that an oracle without them computes in single precision.
WIDENED = (*HALVES, np.dtype(np.float64))


@dataclass(repr=False)
class Case:
    """Nodes, their inputs, and how the answer is to be found and compared."""

    nodes: list[Any]
    inputs: dict[str, Any]
    outputs: list[str]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = 21
    #: The version of `ai.onnx.ml`.
    ml: int = 5
    #: The expected outputs by NumPy; without it onnxruntime is asked.
    want: Callable[[], Sequence[Any]] | None = None
    #: Whether the answer is defined. Where it is not, nothing is asked but that nothing panics.
    judged: bool = True
    #: Whether onnxruntime computes the halves and double precision in single precision.
    wide: bool = False
    #: What the tolerance of the element type is multiplied with; 0 asks for equality.
    loose: float = 1.0
    #: Nodes that the oracle runs instead, where onnxruntime has no such attribute.
    oracle: Case | None = None
    #: Type of an input that is no tensor.
    types: dict[str, Any] = field(default_factory=dict)

    def precision(self) -> np.dtype | None:
        """The coarsest float among the inputs, where answers cannot be more exact than that."""
        dtypes = [v.dtype for v in self._arrays()]
        for half in (BFLOAT16, np.dtype(np.float16)):
            if half in dtypes:
                return half
        if self.wide and np.dtype(np.float64) in dtypes:
            return np.dtype(np.float32)
        return None

    def widens(self) -> bool:
        """Whether the oracle computes in single precision; onnxruntime takes no bfloat16."""
        return self.wide or self.precision() == BFLOAT16

    def _arrays(self) -> Iterable[np.ndarray]:
        for value in (*self.inputs.values(), *self.constants.values()):
            yield from value if isinstance(value, list) else [value]

    def __repr__(self) -> str:
        return f"<{' '.join(sorted(set(_operators(self.nodes))))}>"

    def __str__(self) -> str:
        lines = [onnx.printer.to_text(model([self]))]
        lines += [f"{name} = {_shown(value)}" for name, value in self.inputs.items()]
        lines += [f"constant {name} = {_shown(value)}" for name, value in self.constants.items()]
        return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(v) for v in value) + "]"
    return f"{value.dtype}{list(value.shape)} {value.tolist()}"


def _operators(nodes: Iterable[Any]) -> Iterable[str]:
    """`domain:operator` of every node, those of bodies too."""
    for node in nodes:
        yield f"{node.domain}:{node.op_type}"
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _operators(attribute.g.node)


def single(
    op: str,
    values: Sequence[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    *,
    outputs: int | Sequence[bool] = 1,
    constant: Iterable[int] = (),
    domain: str = "",
    **case: Any,
) -> Case:
    """One node. `constant` says which inputs are initializers; None is an input left out."""
    names = [None if v is None else f"x{i}" for i, v in enumerate(values)]
    asked = [True] * outputs if isinstance(outputs, int) else list(outputs)
    results = [f"y{i}" if wanted else "" for i, wanted in enumerate(asked)]
    given = {k: v for k, v in (attributes or {}).items() if v is not None}
    node = helper.make_node(op, [n or "" for n in names], results, domain=domain, **given)
    constants = set(constant)
    inputs = {n: v for i, (n, v) in enumerate(zip(names, values, strict=True)) if n}
    fixed = {f"x{i}": inputs.pop(f"x{i}") for i in constants if names[i]}
    return Case([node], inputs, [r for r in results if r], fixed, **case)


def widened(value: Any) -> Any:
    """A value in single precision where it is of a float of another size."""
    if isinstance(value, list):
        return [widened(v) for v in value]
    return value.astype(np.float32) if value.dtype in WIDENED else value


def model(cases: Sequence[Case], *, wide: bool = False, named: bool = False) -> Any:
    """One model of many cases of the same versions; case `i`'s names begin with `ci_`.

    `named` gives a single case's names as they are.
    """
    nodes: list[Any] = []
    inputs: list[Any] = []
    outputs: list[Any] = []
    initializers: list[Any] = []
    for i, case in enumerate(cases):
        prefix = "" if named else f"c{i}_"
        nodes += [_renamed(node, prefix) for node in case.nodes]
        for name, value in case.inputs.items():
            value = widened(value) if wide else value
            kind = case.types.get(name) or _type_of(value)
            inputs.append(helper.make_value_info(prefix + name, kind))
        for name, value in case.constants.items():
            value = widened(value) if wide else value
            initializers.append(numpy_helper.from_array(value, prefix + name))
        # Without a type: what comes out is for the operator to say.
        outputs += [onnx.ValueInfoProto(name=prefix + name) for name in case.outputs]
    graph = helper.make_graph(nodes, "cases", inputs, outputs, initializers)
    imports = [("", cases[0].opset), ("ai.onnx.ml", cases[0].ml), ("com.microsoft", 1)]
    opsets = [helper.make_opsetid(*pair) for pair in imports]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _type_of(value: Any) -> Any:
    if isinstance(value, list):
        element = helper.make_tensor_type_proto(_element(value[0]), None)
        return helper.make_sequence_type_proto(element)
    return helper.make_tensor_type_proto(_element(value), value.shape)


def _element(array: np.ndarray) -> int:
    if array.dtype.kind == "O":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _renamed(node: Any, prefix: str) -> Any:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = prefix + (node.name or (node.output[0] if node.output else node.op_type))
    for names in (copy.input, copy.output):
        for i, name in enumerate(names):
            names[i] = prefix + name if name else ""
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            _rename_body(attribute.g, prefix)
    return copy


def _rename_body(graph: Any, prefix: str) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = prefix + value.name
    nodes = [_renamed(node, prefix) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
