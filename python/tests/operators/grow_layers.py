"""Nodes of random graphs that combine elements: reductions, products, windows, branches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .graphs import EPSILON, FLOATS, INTS, Growing, Value, moved


def reduction(g: Growing) -> None:
    a = g.pick(lambda v: v.dtype in ("float32", "float64", "int64", "int32") and v.rank > 0)
    op = g.choice(
        ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL1")
    )
    if a.dtype in INTS and op not in ("ReduceSum", "ReduceMax", "ReduceMin"):
        op = "ReduceSum"
    axes = sorted(int(i) for i in g.rng.permutation(a.rank)[: g.int(1, a.rank)])
    keep = g.int(0, 1)
    count = math.prod(a.shape[i] for i in axes)
    shape = [1 if i in axes else s for i, s in enumerate(a.shape) if keep or i not in axes]
    bound, step, err = a.bound, a.step, a.err
    if op in ("ReduceSum", "ReduceL1"):
        bound, err = bound * count, err * count
    elif op == "ReduceSumSquare":
        bound, step, err = count * bound**2, step**2, 2 * count * bound * err
    elif op == "ReduceMean":
        step = 0
    result = g.known_as(a.dtype, shape, bound, step, err)
    if op == "ReduceSum":
        g.add(op, [a, g.ints(*axes)], result, keepdims=keep)
    else:
        g.add(op, [a], result, axes=axes, keepdims=keep)


def position(g: Growing) -> None:
    a = g.pick(lambda v: v.exact and v.rank > 0 and v.dtype in ("float32", "float64", "int32"))
    axis, keep = g.int(0, a.rank - 1), g.int(0, 1)
    shape = [1 if i == axis else s for i, s in enumerate(a.shape) if keep or i != axis]
    g.add(
        g.choice(("ArgMax", "ArgMin")),
        [a],
        g.known_as("int64", shape, 600, 1, 0),
        axis=axis,
        keepdims=keep,
    )


def top(g: Growing) -> None:
    a = g.pick(lambda v: v.exact and v.rank > 0 and v.dtype in ("float32", "float64", "int64"))
    axis = g.int(0, a.rank - 1)
    k = g.int(1, a.shape[axis])
    shape = list(a.shape)
    shape[axis] = k
    results = moved(g, a, shape), g.known_as("int64", shape, 600, 1, 0)
    g.add("TopK", [a, g.ints(k)], *results, axis=axis, largest=g.int(0, 1))


def running(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0 and v.dtype != "bool")
    axis = g.int(0, a.rank - 1)
    side = a.shape[axis]
    at = g.constant(np.array(axis, np.int64))
    result = g.known_as(a.dtype, a.shape, a.bound * side, a.step, a.err * side)
    g.add("CumSum", [a, at], result, exclusive=g.int(0, 1), reverse=g.int(0, 1))


def matmul(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 1 and v.dtype in FLOATS)
    inner = a.shape[-1]

    def fits(v: Value) -> bool:
        return v.dtype == a.dtype and v.rank == 2 and v.shape[0] == inner

    b = g.weights(a.dtype, [inner, g.int(1, 4)]) if g.chance(0.6) else g.pick(fits)
    shape = [*a.shape[:-1], b.shape[1]]
    err = inner * (a.err * b.bound + b.err * a.bound)
    result = g.known_as(a.dtype, shape, inner * a.bound * b.bound, a.step * b.step, err)
    g.add("MatMul", [a, b], result)
    # A bias and an activation, as layers have them.
    if g.chance(0.5):
        bias = g.weights(a.dtype, [b.shape[1]])
        more = g.known_as(a.dtype, shape, result.bound + 2, min(result.step, 0.25), result.err)
        g.add("Add", g.choice(([result, bias], [bias, result])), more)
        if g.chance(0.5):
            g.add("Relu", [more], replace(more, name=g.name()))


def gemm(g: Growing) -> None:
    a = g.pick(lambda v: v.rank == 2 and v.dtype in FLOATS)
    turned, other = g.chance(0.3), g.chance(0.5)
    rows, inner = a.shape[::-1] if turned else a.shape
    columns = g.int(1, 4)
    b = g.weights(a.dtype, [columns, inner] if other else [inner, columns])
    c = g.weights(a.dtype, g.choice(([columns], [1], [rows, 1], [rows, columns])))
    bound = inner * a.bound * b.bound + c.bound
    result = g.known_as(
        a.dtype, [rows, columns], bound, min(a.step * 0.25, 0.25), inner * a.err * b.bound
    )
    g.add("Gemm", [a, b, c], result, transA=int(turned), transB=int(other))


def conv(g: Growing) -> None:
    a = g.pick(lambda v: v.rank in (3, 4) and v.dtype == "float32")
    depth, width = a.shape[1], g.int(1, 3)
    kernel = [g.int(1, min(2, s)) for s in a.shape[2:]]
    pads = [g.int(0, 1) for _ in range(2 * len(kernel))]
    n = len(kernel)
    sides = [s + pads[i] + pads[i + n] - kernel[i] + 1 for i, s in enumerate(a.shape[2:])]
    w = g.weights("float32", [width, depth, *kernel])
    inputs: list[Any] = [a, w]
    if g.chance(0.5):
        inputs.append(g.weights("float32", [width]))
    terms = depth * math.prod(kernel)
    bound = terms * a.bound * w.bound + 2
    step = min(a.step * 0.25, 0.25)
    result = g.known_as(
        "float32", [a.shape[0], width, *sides], bound, step, terms * a.err * w.bound
    )
    g.add("Conv", inputs, result, pads=pads, kernel_shape=kernel)
    if g.chance(0.5):
        g.add("Relu", [result], replace(result, name=g.name()))


def pool(g: Growing) -> None:
    a = g.pick(lambda v: v.rank in (3, 4) and v.dtype == "float32")
    kernel = [g.int(1, min(2, s)) for s in a.shape[2:]]
    sides = [s - k + 1 for s, k in zip(a.shape[2:], kernel, strict=True)]
    op = g.choice(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"))
    if op.startswith("Global"):
        sides = [1] * len(kernel)
    step = a.step if "Max" in op else 0
    result = g.known_as("float32", [*a.shape[:2], *sides], a.bound, step, a.err)
    g.add(op, [a], result, kernel_shape=None if op.startswith("Global") else kernel)


def softmax(g: Growing) -> None:
    a = g.pick(lambda v: v.rank > 0 and v.dtype in FLOATS)
    op = g.choice(("Softmax", "LogSoftmax"))
    bound = 1 if op == "Softmax" else 2 * a.bound + 7
    g.add(
        op, [a], g.known_as(a.dtype, a.shape, bound, 0, 2 * a.err), axis=g.int(-a.rank, a.rank - 1)
    )


def layer(g: Growing) -> None:
    """With an epsilon of one nothing is divided by little."""
    a = g.pick(lambda v: v.rank > 0 and v.dtype == "float32" and v.bound <= 100)
    scale = g.weights("float32", [a.shape[-1]])
    inputs: list[Any] = [a, scale]
    if g.chance(0.5):
        inputs.append(g.weights("float32", [a.shape[-1]]))
    err = 8 * (a.err + EPSILON["float32"] * a.bound)
    bound = 2 * math.sqrt(a.shape[-1]) + 2
    g.add(
        "LayerNormalization",
        inputs,
        g.known_as("float32", a.shape, bound, 0, err),
        axis=-1,
        epsilon=1.0,
    )


def batch(g: Growing) -> None:
    a = g.pick(lambda v: v.rank in (2, 3, 4) and v.dtype == "float32")
    channels = [a.shape[1]]
    scale, bias, mean = (g.weights("float32", channels) for _ in range(3))
    variance = g.constant(np.asarray(g.rng.integers(1, 9, channels)).astype(np.float32))
    result = g.known_as("float32", a.shape, 2 * (a.bound + 2) + 2, 0, 2 * a.err)
    g.add("BatchNormalization", [a, scale, bias, mean, variance], result)


def one_hot(g: Growing) -> None:
    """Of a position, which is never negative."""
    a = g.pick(lambda v: v.dtype == "int64" and 0 < v.rank < 4)
    depth, values = g.ints(g.int(1, 4)), g.constant(np.array([0, 1], np.float32))
    size = int(g.known[depth.name].bound)
    g.add("OneHot", [a, depth, values], g.known_as("float32", [*a.shape, size], 1, 1, 0), axis=-1)


def einsum(g: Growing) -> None:
    a = g.pick(lambda v: v.rank == 2 and v.dtype in FLOATS)
    b = g.weights(a.dtype, [g.int(1, 3), a.shape[1]])
    shape = [b.shape[0], a.shape[0]]
    bound, err = a.shape[1] * a.bound * b.bound, a.shape[1] * a.err * b.bound
    g.add(
        "Einsum",
        [a, b],
        g.known_as(a.dtype, shape, bound, a.step * 0.25, err),
        equation="ij,kj->ki",
    )


def repeated(g: Growing) -> None:
    """The same node again, as exporters that share nothing write it."""
    node = g.choice([n for n in g.nodes if n.op_type not in ("Constant", "If")])
    results = [replace(g.known[name], name=g.name()) for name in node.output]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    g.add(node.op_type, list(node.input), *results, **attributes)


def branches(g: Growing) -> None:
    """A choice between two chains over values of the same type and shape."""
    condition = g.pick(lambda v: v.dtype == "bool")
    if condition.rank or condition.size != 1:
        flag = g.known_as("int32", condition.shape, 1, 1, 0)
        g.add("Cast", [condition], flag, to=TensorProto.INT32)
        most = g.known_as("int32", [], 1, 1, 0)
        if condition.rank:
            g.add("ReduceMax", [flag], most, keepdims=0)
        else:
            most = flag
        scalar = g.known_as("bool", [], 1, 1, 0)
        g.add("Cast", [most], scalar, to=TensorProto.BOOL)
        condition = scalar
    a = g.number()
    b = g.pick(lambda v: (v.dtype, v.shape) == (a.dtype, a.shape))
    bodies, results = [], []
    for side in (a, b):
        nodes, last = [], side
        for _ in range(g.int(1, 3)):
            op = g.choice(("Neg", "Abs", "Relu", "Identity", "Add"))
            made = g.known_as(a.dtype, a.shape, 2 * last.bound, last.step, 2 * last.err)
            operands = [last.name, side.name if last.bound < side.bound else last.name]
            nodes.append(
                helper.make_node(op, operands if op == "Add" else [last.name], [made.name])
            )
            last = made
        kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(a.dtype)))
        info = helper.make_tensor_value_info(last.name, kind, a.shape)
        bodies.append(helper.make_graph(nodes, f"body_{last.name}", [], [info]))
        results.append(last)
    first, second = results
    result = g.known_as(
        a.dtype,
        a.shape,
        max(first.bound, second.bound),
        min(first.step, second.step),
        max(first.err, second.err),
    )
    g.add("If", [condition], result, then_branch=bodies[0], else_branch=bodies[1])
