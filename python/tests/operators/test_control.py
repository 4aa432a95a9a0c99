"""If, Loop and Scan, against Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .case import Case
from .strategies import Draw, hold

INFO = helper.make_tensor_value_info
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
STEPS: dict[str, Any] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum}


def fixed(g: Draw, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes some of the inputs to be initializers."""
    return {name: inputs.pop(name) for name in list(inputs) if g.flag()}


def branch(g: Draw) -> Case:
    """Both branches read what is outside; one may answer another shape than the other."""
    x, y = (g.values("float32", g.shape(), "small") for _ in range(2))
    y = g.values("float32", g.narrower(x.shape), "small") if g.flag() else y
    condition = g.values("bool", g.pick(([], [1])))
    op = g.pick(list(STEPS))
    nested = g.flag()
    try:
        both = STEPS[op](x, y)
    except ValueError:
        op, both = "", x
    then = [
        helper.make_node(op, ["x", "y"], ["t"])
        if op
        else helper.make_node("Identity", ["x"], ["t"])
    ]
    other = [helper.make_node("Neg", ["y"], ["e"])]
    if nested:
        inner = [
            helper.make_graph([helper.make_node(o, ["y"], [n])], n, [], [INFO(n, FLOAT, None)])
            for o, n in (("Abs", "p"), ("Neg", "q"))
        ]
        other = [helper.make_node("If", ["c"], ["e"], then_branch=inner[0], else_branch=inner[1])]
    node = helper.make_node(
        "If",
        ["c"],
        ["r"],
        then_branch=helper.make_graph(then, "then", [], [INFO("t", FLOAT, None)]),
        else_branch=helper.make_graph(other, "else", [], [INFO("e", FLOAT, None)]),
    )
    inputs = {"c": condition, "x": x, "y": y}
    constants = fixed(g, inputs)
    answer = both if condition.item() else -y
    return Case(
        [node],
        inputs,
        ["r"],
        constants,
        opset=g.pick((11, 13, 16, 21)),
        want=lambda: [np.asarray(answer)],
    )


def loop(g: Draw) -> Case:
    """A state with a captured operand, a scanned output, and an end by count or by condition."""
    state = g.values("float32", g.shape(0, 2), "small")
    more = g.values("float32", [], "small")
    most = g.int(0, 5) if g.flag() else None
    stop = g.int(0, 5) if most is None or g.flag() else None
    start = g.pick((None, True, True, False))
    op = g.pick(list(STEPS))
    nodes = [
        helper.make_node(op, ["s_in", "more"], ["s_out"]),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Add", ["s_out", "f"], ["seen"]),
    ]
    if stop is None:
        nodes.append(helper.make_node("Identity", ["c_in"], ["c_out"]))
    else:
        nodes.append(helper.make_node("Less", ["i", "stop"], ["c_out"]))
    body = helper.make_graph(
        nodes,
        "body",
        [INFO("i", INT64, []), INFO("c_in", BOOL, []), INFO("s_in", FLOAT, None)],
        [INFO("c_out", BOOL, []), INFO("s_out", FLOAT, None), INFO("seen", FLOAT, None)],
    )
    inputs: dict[str, np.ndarray] = {"s": state, "more": more}
    if most is not None:
        inputs["m"] = np.array(most, np.int64)
    if stop is not None:
        inputs["stop"] = np.array(stop, np.int64)
    if start is not None:
        inputs["go"] = np.array(start)
    names = ["m" if most is not None else "", "go" if start is not None else "", "s"]
    node = helper.make_node("Loop", names, ["last", "all"], body=body)

    def want() -> list[np.ndarray]:
        now, seen, i, going = state, [], 0, start is not False
        while going and (most is None or i < most):
            now = np.asarray(STEPS[op](now, more))
            seen.append(now + np.float32(i))
            going = stop is None or i < stop
            i += 1
        return [now, np.stack(seen) if seen else np.zeros((0, *state.shape), np.float32)]

    # What the scanned output of no turn looks like is only known where the shape is.
    body.output[2].CopyFrom(INFO("seen", FLOAT, state.shape))
    body.input[2].CopyFrom(INFO("s_in", FLOAT, state.shape))
    node = helper.make_node("Loop", names, ["last", "all"], body=body)
    constants = fixed(g, inputs)
    return Case(
        [node], inputs, ["last", "all"], constants, opset=g.pick((11, 13, 16, 21)), want=want
    )


def scan(g: Draw) -> Case:
    """Running totals along an axis, in either direction, with a captured factor."""
    shape = g.shape(1, 3, empty=False)
    axis, out = g.axis(len(shape)), 0
    x = g.values("float32", shape, "small")
    rest = [s for i, s in enumerate(shape) if i != axis % len(shape)]
    out = g.axis(len(shape))
    state = g.values("float32", rest, "small")
    factor = g.values("float32", [], "small")
    back, turned = g.flag(), g.flag()
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s_in", "x_in"], ["s_out"]),
            helper.make_node("Mul", ["s_out", "factor"], ["y_out"]),
        ],
        "body",
        [INFO("s_in", FLOAT, rest), INFO("x_in", FLOAT, rest)],
        [INFO("s_out", FLOAT, rest), INFO("y_out", FLOAT, rest)],
    )
    attributes: dict[str, Any] = {"body": body, "num_scan_inputs": 1}
    if axis or g.flag():
        attributes["scan_input_axes"] = [axis]
    if out or g.flag():
        attributes["scan_output_axes"] = [out]
    if back or g.flag():
        attributes["scan_input_directions"] = [int(back)]
    if turned or g.flag():
        attributes["scan_output_directions"] = [int(turned)]
    node = helper.make_node("Scan", ["s", "x"], ["last", "all"], **attributes)

    def want() -> list[np.ndarray]:
        now, seen = state, []
        parts = list(np.moveaxis(x, axis, 0))
        for part in reversed(parts) if back else parts:
            now = np.asarray(now + part)
            seen.append(np.asarray(now * factor))
        return [now, np.stack(seen[::-1] if turned else seen, out)]

    inputs = {"s": state, "x": x, "factor": factor}
    constants = fixed(g, inputs)
    return Case([node], inputs, ["last", "all"], constants, opset=g.pick((11, 16, 21)), want=want)


def test_control_flow() -> None:
    hold(branch, loop, scan, examples=15)
