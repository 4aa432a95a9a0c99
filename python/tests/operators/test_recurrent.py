"""Recurrent networks, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
OTHERS = (
    *("Tanh", "Sigmoid", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh"),
    *("HardSigmoid", "Elu", "Softsign", "Softplus"),
)
#: Those that have an alpha, those that have a beta, and what both may be.
ALPHA = ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
BETA = ("Affine", "ScaledTanh", "HardSigmoid")


def activations(g: Draw, op: str, directions: int) -> dict[str, Any]:
    if g.int(0, 2):
        return {}
    # onnxruntime looks for alpha and beta of every function that has them.
    names = [g.pick(OTHERS) for _ in range(directions * len(USUAL[op]))]
    alpha = [g.pick((0.5, 0.25)) for name in names if name in ALPHA]
    beta = [g.pick((0.5, 0.25)) for name in names if name in BETA]
    return {
        "activations": names,
        "activation_alpha": alpha or None,
        "activation_beta": beta or None,
    }


def recurrent(g: Draw) -> Case:
    op = g.pick(list(GATES))
    opset = g.pick((7, 14, 22))
    dtype = g.dtype(allowed(op, opset))
    direction = g.pick((None, "forward", "reverse", "bidirectional"))
    ways = 2 if direction == "bidirectional" else 1
    steps, batch, width, hidden = g.int(1, 4), g.int(1, 3), g.int(1, 3), g.int(1, 4)
    gates = GATES[op] * hidden

    def small(*shape: int) -> np.ndarray:
        return (g.values(dtype, shape, "small").astype(np.float32) / 4).astype(
            g.values(dtype, [0]).dtype
        )

    lengths = g.rng().integers(1, steps + 1, batch).astype(np.int32) if g.flag() else None
    values: list[Any] = [
        small(steps, batch, width),
        small(ways, gates, width),
        small(ways, gates, hidden),
        small(ways, 2 * gates) if g.flag() else None,
        lengths,
        small(ways, batch, hidden) if g.flag() else None,
    ]
    if op == "LSTM":
        values.append(small(ways, batch, hidden) if g.flag() else None)
        values.append(small(ways, 3 * hidden) if g.flag() else None)
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": direction,
        "clip": g.pick((None, None, 0.5, 2.0)),
        **activations(g, op, ways),
    }
    if op == "GRU":
        attributes["linear_before_reset"] = g.pick((None, 0, 1))
    if op == "LSTM":
        attributes["input_forget"] = g.pick((None, None, 0, 1))
    outputs = [g.flag() for _ in range(3 if op == "LSTM" else 2)]
    if not any(outputs):
        outputs[0] = True
    while not outputs[-1]:
        outputs.pop()
    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    case: dict[str, Any] = {"opset": opset, "constant": constant, "wide": dtype != "float32"}
    layout = opset >= 14 and g.int(0, 2) == 0
    if not layout:
        return single(op, values, attributes, outputs=outputs, loose=4, **case)
    # onnxruntime has no layout 1: the same numbers in the other order stand for it. Only outputs
    # of the same order in both can be compared, so the sequence and states are of one direction.
    return turned(op, values, attributes, outputs, case)


def turned(
    op: str,
    values: list[Any],
    attributes: dict[str, Any],
    outputs: list[bool],
    case: dict[str, Any],
) -> Case:
    """Layout 1, batch first; the oracle computes layout 0 between transpositions."""
    from onnx import helper

    first = [0, 5, 6]
    batched = [
        v.swapaxes(0, 1).copy() if i in first and v is not None else v for i, v in enumerate(values)
    ]
    given = {**attributes, "layout": 1}
    made = single(op, batched, given, outputs=outputs, loose=4, **case)
    plain = single(op, batched, attributes, outputs=outputs, **case)
    node = plain.nodes[0]
    before, after = [], []
    for i in first:
        if i < len(batched) and batched[i] is not None:
            before.append(helper.make_node("Transpose", [f"x{i}"], [f"t{i}"], perm=[1, 0, 2]))
            node.input[i] = f"t{i}"
    for i, name in enumerate(list(node.output)):
        if name:
            # The sequence is [steps, ways, batch, hidden], and [batch, steps, ways, hidden] here.
            perm = [2, 0, 1, 3] if i == 0 else [1, 0, 2]
            after.append(helper.make_node("Transpose", [f"r{i}"], [name], perm=perm))
            node.output[i] = f"r{i}"
    plain.nodes = [*before, node, *after]
    made.oracle = plain
    return made


def test_recurrent() -> None:
    hold(recurrent, examples=15)
