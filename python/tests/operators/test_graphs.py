"""Random graphs: the plain plan, the optimised plan and onnxruntime answer alike."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.printer
import pytest

import modelserve as ms

from .graphs import Graph
from .oracle import PLANS, session
from .random_graphs import random_graph

#: How many there are: `GRAPHS=20000` looks further, and `GRAPHS_SEED=2` elsewhere.
COUNT = int(os.environ.get("GRAPHS", "2000"))
SEED = int(os.environ.get("GRAPHS_SEED", "1"))
CHUNKS = 20


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


def wrong(graph: Graph) -> tuple[str, str] | None:
    """The first output that differs, and how; an output that is refused is called ''."""
    wanted = by_onnxruntime(graph)
    for plan in PLANS:
        try:
            got = by_modelserve(graph, plan)
        except ms.ModelServeError as error:
            return "", f"{plan} plan: {type(error).__name__}: {error}"
        for name, want in wanted.items():
            if not near(got[name], want, graph.errs[name]):
                return name, (
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


def fails(graph: Graph) -> bool:
    """Whether modelserve is wrong; a graph that is no graph any more does not count."""
    try:
        return wrong(graph) is not None
    except Exception:
        return False


def smallest(graph: Graph) -> Graph:
    """A small graph that still fails: fewer outputs, nodes replaced by the values they make."""
    for name in graph.outputs:
        alone = needed(replace(graph, outputs=[name]))
        if fails(alone):
            graph = alone
            break
    made = [name for node in graph.nodes for name in node.output if name in graph.errs]
    values = by_onnxruntime(replace(graph, outputs=made))
    shrinking = True
    while shrinking:
        shrinking = False
        # An earlier value that is wrong already, and then what leads to it.
        for name in [n for node in graph.nodes for n in node.output]:
            if name in graph.errs and [name] != graph.outputs:
                earlier = needed(replace(graph, outputs=[name]))
                if len(earlier.nodes) < len(graph.nodes) and fails(earlier):
                    graph, shrinking = earlier, True
                    break
        for node in list(graph.nodes):
            if set(node.output) & set(graph.outputs):
                continue
            rest = [other for other in graph.nodes if other is not node]
            given = {name: values[name] for name in node.output if name in values}
            smaller = needed(replace(graph, nodes=rest, inputs={**graph.inputs, **given}))
            if fails(smaller):
                graph, shrinking = smaller, True
    return graph


def told(graph: Graph, number: int) -> str:
    found = smallest(needed(graph)) if fails(needed(graph)) else graph
    lines = [f"graph {number} of seed {SEED}", onnx.printer.to_text(found.model())]
    lines += [f"{n} = {v.dtype}{list(v.shape)} {v.tolist()}" for n, v in found.inputs.items()]
    why = wrong(found)
    return "\n".join([*lines, why[1] if why else "only the whole graph is wrong"])


def graph_of(number: int) -> Graph:
    return random_graph(np.random.default_rng([SEED, number]))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_graphs(chunk: int) -> None:
    for number in range(chunk, COUNT, CHUNKS):
        graph = graph_of(number)
        if wrong(graph) is not None:
            pytest.fail(told(graph, number))


def test_graphs_are_of_many_operators() -> None:
    """The generator has not lost what it is for."""
    graphs = [graph_of(number) for number in range(400)]
    sizes = [len(graph.nodes) for graph in graphs]
    operators = {node.op_type for graph in graphs for node in graph.nodes}
    assert min(sizes) >= 5 and max(sizes) <= 40
    assert len(operators) >= 75, sorted(operators)
    assert sum(len(graph.outputs) > 1 for graph in graphs) > 300
    assert sum(any(n.op_type == "If" for n in graph.nodes) for graph in graphs) > 20


def test_a_wrong_answer_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison is worth: an operator that is made wrong does not get by."""
    honest = by_modelserve

    def spoiled(graph: Graph, plan: str) -> dict[str, Any]:
        answers = honest(graph, plan)
        if any(node.op_type == "Transpose" for node in graph.nodes):
            answers = {n: v if v.dtype == bool else v + 1 for n, v in answers.items()}
        return answers

    monkeypatch.setattr(f"{__name__}.by_modelserve", spoiled)
    graphs = (graph_of(number) for number in range(400))
    with_it = next(
        graph
        for graph in graphs
        if any(n.op_type == "Transpose" for n in needed(graph).nodes) and fails(needed(graph))
    )
    small = smallest(needed(with_it))
    assert [node.op_type for node in small.nodes].count("Transpose") == 1
    assert len(small.nodes) <= 2
