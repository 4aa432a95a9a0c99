"""Random graphs: the plain plan, the optimised plan and onnxruntime answer alike."""

from __future__ import annotations

import os
from typing import Any

import pytest

from . import graph_answers
from .graph_answers import by_onnxruntime, fails, graph_of, needed, smallest, told, wrong
from .graphs import Graph

#: How many there are: `GRAPHS=20000` looks further, and `GRAPHS_SEED=2` elsewhere.
COUNT = int(os.environ.get("GRAPHS", "2000"))
SEED = int(os.environ.get("GRAPHS_SEED", "1"))
CHUNKS = 20


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_graphs(chunk: int) -> None:
    for number in range(chunk, COUNT, CHUNKS):
        graph = graph_of(SEED, number)
        if wrong(graph, by_onnxruntime) is not None:
            pytest.fail(f"graph {number} of seed {SEED}\n{told(graph, by_onnxruntime)}")


def test_graphs_are_of_many_operators() -> None:
    """The generator has not lost what it is for."""
    graphs = [graph_of(SEED, number) for number in range(400)]
    sizes = [len(graph.nodes) for graph in graphs]
    operators = {node.op_type for graph in graphs for node in graph.nodes}
    assert min(sizes) >= 5 and max(sizes) <= 40
    assert len(operators) >= 75, sorted(operators)
    assert sum(len(graph.outputs) > 1 for graph in graphs) > 300
    assert sum(any(n.op_type == "If" for n in graph.nodes) for graph in graphs) > 20


def test_a_wrong_answer_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison is worth: an operator that is made wrong does not get by."""
    honest = graph_answers.by_modelserve

    def spoiled(graph: Graph, plan: str) -> dict[str, Any]:
        answers = honest(graph, plan)
        if any(node.op_type == "Transpose" for node in graph.nodes):
            answers = {n: v if v.dtype == bool else v + 1 for n, v in answers.items()}
        return answers

    monkeypatch.setattr(graph_answers, "by_modelserve", spoiled)
    graphs = (graph_of(SEED, number) for number in range(400))
    transposing = (
        needed(graph)
        for graph in graphs
        if any(node.op_type == "Transpose" for node in needed(graph).nodes)
    )
    with_it = next(graph for graph in transposing if fails(graph, by_onnxruntime))
    small = smallest(with_it, by_onnxruntime)
    assert [node.op_type for node in small.nodes].count("Transpose") == 1
    assert len(small.nodes) <= 2
