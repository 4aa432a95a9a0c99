"""Random graphs by the million: the optimised plan answers as the plain one.

One in `--oracle-every` is held to onnxruntime, too, unless that refuses it: its shape inference
takes a few legal graphs for broken (values of shapes that broadcast). The last line says what was
done; a graph that differs is printed, made small, and the exit code is 1.
`make graphs GRAPHS=1000000` runs this.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from typing import NamedTuple

from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from operators.graph_answers import by_onnxruntime, graph_of, told, wrong
from operators.graphs import Graph
from operators.oracle import session

#: Graphs between two lines of progress.
CHUNK = 1000


class Work(NamedTuple):
    """A range of graphs of a seed."""

    seed: int
    first: int
    end: int
    oracle_every: int


def taken(graph: Graph) -> bool:
    """Whether onnxruntime loads the graph."""
    try:
        session(graph.model())
    except Fail as error:
        if "ShapeInferenceError" in str(error):
            return False
        raise
    return True


def compare(work: Work) -> tuple[Counter[str], list[str]]:
    """Compares the graphs of a range; answers counts, and the graphs that differ as text."""
    done: Counter[str] = Counter()
    finds = []
    for number in range(work.first, work.end):
        graph = graph_of(work.seed, number)
        oracle = None if number % work.oracle_every else by_onnxruntime
        if oracle and not taken(graph):
            oracle = None
            done["refused by onnxruntime"] += 1
        done["graphs"] += 1
        done["nodes"] += len(graph.nodes)
        done["beside onnxruntime"] += oracle is not None
        if wrong(graph, oracle) is not None:
            finds.append(f"graph {number} of seed {work.seed}\n{told(graph, oracle)}")
    done["different"] = len(finds)
    return done, finds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first graph")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--oracle-every", type=int, default=100)
    given = parser.parse_args()
    end = given.first + given.graphs
    works = [
        Work(given.seed, first, min(first + CHUNK, end), given.oracle_every)
        for first in range(given.first, end, CHUNK)
    ]
    total: Counter[str] = Counter()
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for done, finds in pool.imap_unordered(compare, works):
            total += done
            for find in finds:
                print(find, flush=True)
            if total["graphs"] % (50 * CHUNK) == 0:
                print(f"{total['graphs']} graphs, {total['different']} differ", flush=True)
    print(
        f"graphs: {total['graphs']} of seed {given.seed} from number {given.first}, "
        f"{total['nodes']} nodes, {total['beside onnxruntime']} beside onnxruntime "
        f"({total['refused by onnxruntime']} refused by it), "
        f"{total['different']} different, {time.monotonic() - began:.0f} s"
    )
    return int(total["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
