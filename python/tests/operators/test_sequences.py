"""Sequences and optionals, against NumPy and Python's lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .case import Case, single
from .strategies import Draw, hold

DTYPES = ("float32", "float64", "int64", "int32", "bool", "string")


def items(g: Draw, count: int, *, same: bool = False) -> list[np.ndarray]:
    """Tensors of one type; of one shape if asked for."""
    dtype = g.pick(DTYPES)
    shape = g.shape(0, 3)
    return [g.values(dtype, shape if same else g.shape(0, 3), "small") for _ in range(count)]


def made(
    g: Draw, tensors: list[np.ndarray], nodes: list[Any], outputs: list[str], **case: Any
) -> Case:
    """Nodes behind a sequence `s` of these tensors."""
    names = [f"t{i}" for i in range(len(tensors))]
    constant = set(g.constants(len(tensors)))
    build = helper.make_node("SequenceConstruct", names, ["s"])
    named = dict(zip(names, tensors, strict=True))
    constants = {n: v for i, (n, v) in enumerate(named.items()) if i in constant}
    constants |= case.pop("constants", {})
    inputs = {n: v for n, v in named.items() if n not in constants} | case.pop("inputs", {})
    return Case([build, *nodes], inputs, outputs, constants, **case)


def place(g: Draw, low: int, high: int) -> tuple[np.ndarray, int]:
    at = g.int(low, high)
    return np.array(at, g.pick((np.int64, np.int32))), at


def at(g: Draw) -> Case:
    tensors = items(g, g.int(1, 4))
    where, i = place(g, -len(tensors), len(tensors) - 1)
    nodes = [helper.make_node("SequenceAt", ["s", "i"], ["y"])]
    return made(g, tensors, nodes, ["y"], inputs={"i": where}, want=lambda: [tensors[i]])


def insert(g: Draw) -> Case:
    tensors = items(g, g.int(2, 4))
    more = tensors.pop()
    inputs: dict[str, Any] = {"m": more}
    names, i = ["s", "m"], len(tensors)
    if g.flag():
        # An index from behind counts before the tensor is in.
        inputs["i"], i = place(g, -len(tensors), len(tensors))
        names.append("i")
    expected = list(tensors)
    expected.insert(i, more)
    nodes = [helper.make_node("SequenceInsert", names, ["y"])]
    return made(g, tensors, nodes, ["y"], inputs=inputs, want=lambda: [expected])


def erase(g: Draw) -> Case:
    tensors = items(g, g.int(1, 4))
    inputs: dict[str, Any] = {}
    names, i = ["s"], -1
    if g.flag():
        inputs["i"], i = place(g, -len(tensors), len(tensors) - 1)
        names.append("i")
    expected = list(tensors)
    del expected[i]
    nodes = [
        helper.make_node("SequenceErase", names, ["e"]),
        helper.make_node("SequenceLength", ["e"], ["n"]),
        helper.make_node("Identity", ["e"], ["y"]),
    ]
    count = np.array(len(expected), np.int64)
    return made(g, tensors, nodes, ["y", "n"], inputs=inputs, want=lambda: [expected, count])


def empty(g: Draw) -> Case:
    dtype = g.pick(DTYPES)
    kind = (
        TensorProto.STRING
        if dtype == "string"
        else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    )
    x = g.values(dtype, g.shape(0, 2), "small")
    default = dtype == "float32" and g.flag()
    nodes = [
        helper.make_node("SequenceEmpty", [], ["e"], **({} if default else {"dtype": int(kind)})),
        helper.make_node("SequenceLength", ["e"], ["n"]),
        helper.make_node("SequenceInsert", ["e", "x"], ["y"]),
    ]
    return Case(nodes, {"x": x}, ["n", "y"], want=lambda: [np.array(0, np.int64), [x]])


def joined(g: Draw) -> Case:
    tensors = items(g, g.int(1, 4), same=True)
    rank = tensors[0].ndim
    new = rank == 0 or g.flag()
    axis = g.int(-rank - 1, rank) if new else g.axis(rank)
    join = np.stack if new else np.concatenate
    attributes = {"axis": axis, "new_axis": int(new)}
    nodes = [helper.make_node("ConcatFromSequence", ["s"], ["y"], **attributes)]
    return made(g, tensors, nodes, ["y"], want=lambda: [join(tensors, axis)])


def split(g: Draw) -> Case:
    x = g.values(g.pick(DTYPES), g.shape(1, empty=False), "small")
    axis = g.axis(x.ndim)
    side = x.shape[axis]
    inputs: dict[str, Any] = {"x": x}
    attributes: dict[str, Any] = {"axis": axis if axis or g.flag() else None}
    way = g.int(0, 2)
    dropped = False
    if way == 0:
        bounds = list(range(1, side))
        keep = g.pick((None, 0, 1))
        attributes["keepdims"] = keep
        dropped = keep == 0
    elif way == 1:
        each = g.int(1, 3)
        inputs["n"] = np.array(each, np.int64)
        bounds = list(range(each, side, each))
    else:
        cuts = sorted(int(n) for n in g.rng().integers(0, side + 1, g.int(0, 2)))
        inputs["n"] = np.diff([0, *cuts, side]).astype(np.int64)
        bounds = cuts
    node = helper.make_node(
        "SplitToSequence",
        list(inputs),
        ["y"],
        **{k: v for k, v in attributes.items() if v is not None},
    )

    def want() -> list[Any]:
        parts = np.split(x, bounds, axis)
        return [[np.squeeze(p, axis) for p in parts] if dropped else parts]

    constants = {"n": inputs.pop("n")} if "n" in inputs and g.flag() else {}
    return Case([node], inputs, ["y"], constants, want=want)


def given(g: Draw) -> Case:
    """A sequence that the caller gives."""
    tensors = items(g, g.int(1, 3))
    nodes = [
        helper.make_node("SequenceLength", ["s"], ["n"]),
        helper.make_node("Identity", ["s"], ["y"]),
    ]
    count = np.array(len(tensors), np.int64)
    return Case(nodes, {"s": tensors}, ["n", "y"], want=lambda: [count, tensors])


def optional(g: Draw) -> Case:
    opset = g.pick((16, 18))
    x = g.values(g.pick(DTYPES), g.shape(0, 3), "small")
    nodes = [
        helper.make_node("Optional", ["x"], ["o"]),
        helper.make_node("OptionalHasElement", ["o"], ["h"]),
        helper.make_node("OptionalGetElement", ["o"], ["y"]),
    ]
    yes = np.array(True)
    return Case(nodes, {"x": x}, ["h", "y"], opset=opset, want=lambda: [yes, x])


def nothing(g: Draw) -> Case:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    kind = g.pick((tensor, helper.make_sequence_type_proto(tensor)))
    nodes = [
        helper.make_node("Optional", [], ["o"], type=kind),
        helper.make_node("OptionalHasElement", ["o"], ["h"]),
    ]
    return Case(nodes, {}, ["h"], opset=g.pick((15, 18)), want=lambda: [np.array(False)])


def without_optional(g: Draw) -> Case:
    """From opset 18 on a tensor is as good as an optional, and no input an empty one."""
    x = g.values(g.pick(DTYPES), g.shape(0, 2), "small")
    if g.int(0, 3) == 0:
        node = helper.make_node("OptionalHasElement", [], ["h"])
        return Case([node], {}, ["h"], opset=18, want=lambda: [np.array(False)])
    op = g.pick(("OptionalHasElement", "OptionalGetElement"))
    answer = np.array(True) if op == "OptionalHasElement" else x
    return single(op, [x], opset=18, want=lambda: [answer])


def mapped(g: Draw) -> Case:
    """Each tensor through a body, beside one tensor that is the same for all."""
    tensors = [g.values("float32", g.shape(0, 2), "small") for _ in range(g.int(1, 3))]
    more = g.values("float32", [], "small")
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "body",
        [info("a", TensorProto.FLOAT, None), info("b", TensorProto.FLOAT, [])],
        [info("c", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("SequenceMap", ["s", "m"], ["y"], body=body)]
    return made(
        g, tensors, nodes, ["y"], inputs={"m": more}, want=lambda: [[t + more for t in tensors]]
    )


def test_sequences() -> None:
    hold(at, insert, erase, empty, joined, split, given, examples=20)


def test_optionals() -> None:
    hold(optional, nothing, without_optional)


def test_sequence_map() -> None:
    hold(mapped, examples=5, least=60)
