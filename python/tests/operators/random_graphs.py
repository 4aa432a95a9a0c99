"""Random graphs: which nodes they grow by, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import grow_layers as layers
from . import grow_numbers as numbers
from . import grow_shapes as shapes
from .graphs import Graph, Growing, Reject

GROWTH: tuple[Callable[[Growing], None], ...] = (
    *(
        numbers.sums,
        numbers.sums,
        numbers.product,
        numbers.quotient,
        numbers.extremes,
        numbers.several,
        numbers.whole_division,
        numbers.comparison,
        numbers.logic,
        numbers.where,
    ),
    *(
        numbers.exact_unary,
        numbers.exact_unary,
        numbers.rounding,
        numbers.smooth,
        numbers.smooth,
        numbers.curved,
        numbers.square,
        numbers.slope,
        numbers.cast,
        numbers.cast_inexact,
    ),
    *(
        shapes.reshape,
        shapes.reshape_back,
        shapes.transpose,
        shapes.squeeze,
        shapes.unsqueeze,
        shapes.flatten,
        shapes.expand,
        shapes.tile,
        shapes.concat,
        shapes.split,
    ),
    *(
        shapes.slice_,
        shapes.pad,
        shapes.gather,
        shapes.gather_elements,
        shapes.scatter,
        shapes.triangle,
        shapes.filled,
        layers.reduction,
        layers.reduction,
    ),
    *(
        layers.position,
        layers.top,
        layers.running,
        layers.matmul,
        layers.matmul,
        layers.gemm,
        layers.conv,
        layers.pool,
        layers.softmax,
        layers.layer,
        layers.batch,
        layers.one_hot,
    ),
    *(layers.einsum, layers.repeated, layers.branches),
)


def random_graph(rng: np.random.Generator) -> Graph:
    """A graph of 5 to 30 nodes."""
    g = Growing(rng)
    for _ in range(g.int(2, 4)):
        g.source()
    # One that most operators take.
    g.values.append(g.weights("float32", [g.int(1, 2), g.int(1, 3), g.int(2, 4), g.int(2, 4)]))
    size = g.int(5, 26)
    for _ in range(20 * size):
        if sum(node.op_type != "Constant" for node in g.nodes) >= size:
            break
        before = len(g.nodes), len(g.values)
        try:
            g.choice(GROWTH)(g)
        except Reject:
            # What had been made for it stays as a dead node, or is taken back.
            if g.chance(0.7):
                del g.nodes[before[0] :]
                del g.values[before[1] :]
    made = [name for node in g.nodes for name in node.output if name in g.known]
    read = {name for node in g.nodes for name in node.input}
    ends = [name for name in made if name not in read]
    # Not all ends are asked for: what only they need is dead. Some that are read are asked for too.
    outputs = [n for n in ends if g.chance(0.8)] + [n for n in made if n in read and g.chance(0.15)]
    outputs = outputs or made[-1:]
    errs = {name: value.err for name, value in g.known.items()}
    return Graph(g.nodes, g.inputs, g.constants, outputs, errs)
