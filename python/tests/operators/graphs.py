"""Random valid graphs, and what may be asked of their answers.

A graph grows node by node. Each value carries its type and shape, and three bounds: of its
magnitude, of the steps that its elements are multiples of, and of how far two right answers may be
apart. While all elements are multiples of a step that the type holds exactly, every order of
summing gives the same, and only such values go into what jumps: comparisons, roundings, positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17
FLOATS = ("float32", "float64")
INTS = ("int64", "int32")
#: What one operation may err by, of its bound, and up to which multiple steps are exact.
EPSILON = {"float32": 3e-6, "float64": 1e-12}
EXACT = {"float32": 2.0**22, "float64": 2.0**50, "int32": 2.0**30, "int64": 2.0**60, "bool": 2.0}
#: Most elements of a value, its largest magnitude, and the largest error.
ELEMENTS, LARGEST, COARSEST = 600, 1e6, 1e-2


class Reject(Exception):
    """The chosen node does not fit what there is."""


@dataclass(frozen=True)
class Value:
    """What is known of a value."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bound: float
    step: float
    err: float

    @property
    def exact(self) -> bool:
        return self.step > 0

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass
class Graph:
    """A graph that can be made a model, and the inputs to run it on."""

    nodes: list[Any]
    inputs: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]
    outputs: list[str]
    errs: dict[str, float]
    opset: int = OPSET

    def model(self) -> Any:
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in self.inputs.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        initializers = [numpy_helper.from_array(v, n) for n, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@dataclass
class Growing:
    """A graph while it grows."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    known: dict[str, Value] = field(default_factory=dict)
    count: int = 0

    # What is drawn.

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def int(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def choice(self, items: Sequence[Any]) -> Any:
        if not items:
            raise Reject
        return items[self.int(0, len(items) - 1)]

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def pick(self, fits: Callable[[Value], bool]) -> Value:
        """A value that fits; one of the last three half of the time, so that chains arise."""
        recent = [v for v in self.values[-3:] if fits(v)]
        if recent and self.chance(0.5):
            return self.choice(recent)
        return self.choice([v for v in self.values if fits(v)])

    def number(self) -> Value:
        return self.pick(lambda v: v.dtype in FLOATS)

    def exact(self) -> Value:
        return self.pick(lambda v: v.dtype in FLOATS and v.exact)

    # What is made.

    def known_as(
        self, dtype: str, shape: Sequence[int], bound: float, step: float, err: float
    ) -> Value:
        """A result with its bounds, refused where it is too large or too coarse."""
        if math.prod(shape) > ELEMENTS or len(shape) > 5:
            raise Reject
        if dtype == "bool":
            return Value(self.name(), dtype, tuple(shape), 1, 1, 0)
        if dtype in INTS:
            if bound > EXACT[dtype]:
                raise Reject
            return Value(self.name(), dtype, tuple(shape), bound, 1, 0)
        if step > 0 and bound / step <= EXACT[dtype]:
            return Value(self.name(), dtype, tuple(shape), bound, step, 0)
        err += EPSILON[dtype] * bound
        if bound > LARGEST or err > COARSEST:
            raise Reject
        return Value(self.name(), dtype, tuple(shape), bound, 0, err)

    def add(
        self, op: str, inputs: Sequence[Value | str], *results: Value, **attributes: Any
    ) -> None:
        names = [v if isinstance(v, str) else v.name for v in inputs]
        outputs = [v.name for v in results]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, names, outputs, name=f"n{len(self.nodes)}", **given))
        self.values += results
        self.known |= {v.name: v for v in results}

    def constant(self, array: np.ndarray, step: float = 1.0) -> Value:
        """An initializer or, now and then, a node."""
        bound = float(np.abs(array.astype(np.float64)).max(initial=0))
        value = Value(self.name(), array.dtype.name, array.shape, bound, step, 0)
        if self.chance(0.15):
            node = helper.make_node(
                "Constant", [], [value.name], value=numpy_helper.from_array(array)
            )
            self.nodes.append(node)
        else:
            self.constants[value.name] = array
        self.known[value.name] = value
        return value

    def ints(self, *numbers: int) -> Value:
        return self.constant(np.array(numbers, np.int64))

    def weights(self, dtype: str, shape: Sequence[int]) -> Value:
        return self.constant(self.quarters(dtype, shape), 0.25 if dtype in FLOATS else 1)

    def quarters(self, dtype: str, shape: Sequence[int]) -> np.ndarray:
        if dtype == "bool":
            return np.asarray(self.rng.integers(0, 2, shape)).astype(bool)
        whole = np.asarray(self.rng.integers(-8, 9, shape))
        return np.asarray(whole / 4 if dtype in FLOATS else whole).astype(dtype)

    def source(self) -> None:
        """An input of the graph or, less often, an initializer that nodes may read."""
        dtype = self.choice(("float32", "float32", "float32", "float64", "int64", "int32", "bool"))
        shape = tuple(self.int(1, 4) for _ in range(self.int(0, 4)))
        array = self.quarters(dtype, shape)
        step = 0.25 if dtype in FLOATS else 1.0
        if self.chance(0.25):
            self.values.append(self.constant(array, step))
            return
        value = Value(self.name(), dtype, shape, 8.0 if dtype in INTS else 2.0, step, 0)
        self.inputs[value.name] = array
        self.values.append(value)
        self.known[value.name] = value

    def partner(self, a: Value, *, constant: float = 0.4) -> Value:
        """Another operand that broadcasts with `a`."""

        def fits(b: Value) -> bool:
            try:
                return b.dtype == a.dtype and math.prod(together(a, b)) <= ELEMENTS
            except Reject:
                return False

        if not self.chance(constant):
            return self.pick(fits)
        shape = list(a.shape[self.int(0, a.rank) :])
        return self.weights(a.dtype, [1 if self.chance(0.3) else s for s in shape])


def together(*values: Value) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*(v.shape for v in values)))
    except ValueError:
        raise Reject from None


def above_one(g: Growing, v: Value) -> Value:
    positive = g.known_as(v.dtype, v.shape, v.bound, v.step, v.err)
    g.add("Abs", [v], positive)
    one = g.constant(np.array(1, v.dtype))
    more = g.known_as(v.dtype, v.shape, v.bound + 1, min(v.step, 1), v.err)
    g.add("Add", [positive, one], more)
    return more


def moved(g: Growing, a: Value, shape: Sequence[int]) -> Value:
    return g.known_as(a.dtype, shape, a.bound, a.step, a.err)
