"""What random graphs answer, how far that is from right, and a small graph where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.printer

import modelserve as ms

from .graphs import Graph
from .oracle import session
from .random_graphs import random_graph

Oracle = Callable[[Graph], dict[str, Any]]


def graph_of(seed: int, number: int) -> Graph:
    return random_graph(np.random.default_rng([seed, number]))


def by_onnxruntime(graph: Graph) -> dict[str, Any]:
    answers = session(graph.model()).run(graph.outputs, graph.inputs)
    return dict(zip(graph.outputs, answers, strict=True))


def by_modelserve(graph: Graph, plan: str) -> dict[str, Any]:
    return ms.load(graph.model().SerializeToString(), plan=plan).run(graph.inputs)


def near(got: np.ndarray, want: np.ndarray, err: float) -> bool:
    """Whether two answers are as near as the bound of the error says."""
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return False
    if got.dtype.kind != "f":
        return np.array_equal(got, want)
    # Both sides may err, and a node's own error is an estimate.
    return bool(np.all(np.abs(got.astype(float) - want.astype(float)) <= 8 * err + 1e-30))


def wrong(graph: Graph, oracle: Oracle | None = None) -> str | None:
    """How the first output differs that does, from the plain plan's if there is no oracle."""
    wanted = oracle(graph) if oracle else {}
    for plan in ("plain", "optimised"):
        try:
            got = by_modelserve(graph, plan)
        except ms.ModelServeError as error:
            return f"{plan} plan: {type(error).__name__}: {error}"
        wanted = wanted or got
        for name, want in wanted.items():
            if not near(got[name], want, graph.errs[name]):
                return (
                    f"{plan} plan, {name} (may differ by {graph.errs[name]:.1e}):\n"
                    f"got      {got[name].dtype}{list(got[name].shape)} {got[name].tolist()}\n"
                    f"expected {want.dtype}{list(want.shape)} {want.tolist()}"
                )
    return None


def needed(graph: Graph) -> Graph:
    """The graph without what its outputs do not need."""
    wanted = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(node.output):
            continue
        nodes.append(node)
        wanted |= set(node.input)
        for attribute in node.attribute:
            wanted |= {name for inner in attribute.g.node for name in inner.input}
    return replace(
        graph,
        nodes=nodes[::-1],
        inputs={n: v for n, v in graph.inputs.items() if n in wanted},
        constants={n: v for n, v in graph.constants.items() if n in wanted},
    )


def fails(graph: Graph, oracle: Oracle | None = None) -> bool:
    """Whether modelserve is wrong; a graph that is no graph any more does not count."""
    try:
        return wrong(graph, oracle) is not None
    except Exception:
        return False


def smallest(graph: Graph, oracle: Oracle | None = None) -> Graph:
    """A small graph that still fails: fewer outputs, nodes replaced by the values they make."""
    for name in graph.outputs:
        alone = needed(replace(graph, outputs=[name]))
        if fails(alone, oracle):
            graph = alone
            break
    made = [name for node in graph.nodes for name in node.output if name in graph.errs]
    all_made = replace(graph, outputs=made)
    values = oracle(all_made) if oracle else by_modelserve(all_made, "plain")
    shrinking = True
    while shrinking:
        shrinking = False
        # An earlier value that is wrong already, and then what leads to it.
        for name in [n for node in graph.nodes for n in node.output]:
            if name in graph.errs and [name] != graph.outputs:
                earlier = needed(replace(graph, outputs=[name]))
                if len(earlier.nodes) < len(graph.nodes) and fails(earlier, oracle):
                    graph, shrinking = earlier, True
                    break
        for node in list(graph.nodes):
            if set(node.output) & set(graph.outputs):
                continue
            rest = [other for other in graph.nodes if other is not node]
            given = {name: values[name] for name in node.output if name in values}
            smaller = needed(replace(graph, nodes=rest, inputs={**graph.inputs, **given}))
            if fails(smaller, oracle):
                graph, shrinking = smaller, True
    return graph


def told(graph: Graph, oracle: Oracle | None = None) -> str:
    """A graph that fails, made small, with its inputs and what is wrong."""
    found = smallest(needed(graph), oracle) if fails(needed(graph), oracle) else graph
    lines = [onnx.printer.to_text(found.model())]
    lines += [f"{n} = {v.dtype}{list(v.shape)} {v.tolist()}" for n, v in found.inputs.items()]
    return "\n".join([*lines, wrong(found, oracle) or "only the whole graph is wrong"])
