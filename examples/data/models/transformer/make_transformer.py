"""Makes `model.onnx`: a small transformer encoder with random weights, to measure with.

Two layers of width 64 with 4 heads over 32 tokens of a vocabulary of 64, a mean over the tokens
and a linear layer to 4 classes. The same bytes each time with the same versions of numpy and onnx:

    python examples/data/models/transformer/make_transformer.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, FEED, TOKENS, VOCABULARY, CLASSES = 2, 64, 4, 128, 32, 64, 4
HEAD = WIDTH // HEADS


class Graph:
    """Nodes and weights, with names that count."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(7)

    def weight(self, name: str, *shape: int) -> str:
        scale = 1.0 / np.sqrt(shape[0])
        values = self.random.normal(0.0, scale, shape).astype(np.float32)
        return self.constant(name, values)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, name: str, x: str, size_in: int, size_out: int) -> str:
        weight = self.weight(f"{name}.weight", size_in, size_out)
        bias = self.constant(f"{name}.bias", np.zeros(size_out, np.float32))
        return self.op("Add", self.op("MatMul", x, weight), bias)

    def norm(self, name: str, x: str) -> str:
        scale = self.constant(f"{name}.scale", np.ones(WIDTH, np.float32))
        bias = self.constant(f"{name}.bias", np.zeros(WIDTH, np.float32))
        return self.op("LayerNormalization", x, scale, bias, axis=-1)

    def heads(self, x: str, order: list[int]) -> str:
        return self.op("Transpose", self.op("Reshape", x, "split"), perm=order)

    def layer(self, name: str, x: str) -> str:
        y = self.norm(f"{name}.norm1", x)
        query = self.heads(self.linear(f"{name}.query", y, WIDTH, WIDTH), [0, 2, 1, 3])
        key = self.heads(self.linear(f"{name}.key", y, WIDTH, WIDTH), [0, 2, 3, 1])
        value = self.heads(self.linear(f"{name}.value", y, WIDTH, WIDTH), [0, 2, 1, 3])
        scores = self.op("Mul", self.op("MatMul", query, key), "scale")
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        mixed = self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), "merge")
        x = self.op("Add", x, self.linear(f"{name}.out", mixed, WIDTH, WIDTH))
        y = self.linear(f"{name}.feed1", self.norm(f"{name}.norm2", x), WIDTH, FEED)
        y = self.linear(f"{name}.feed2", self.op("Relu", y), FEED, WIDTH)
        return self.op("Add", x, y)


def main() -> None:
    g = Graph()
    g.constant("split", np.array([0, 0, HEADS, HEAD], np.int64))
    g.constant("merge", np.array([0, 0, WIDTH], np.int64))
    g.constant("scale", np.array(1.0 / np.sqrt(HEAD), np.float32))
    positions = g.random.normal(0.0, 0.1, (TOKENS, WIDTH)).astype(np.float32)
    x = g.op("Gather", g.weight("embedding", VOCABULARY, WIDTH), "tokens")
    x = g.op("Add", x, g.constant("positions", positions))
    for i in range(LAYERS):
        x = g.layer(f"layer{i}", x)
    axes = g.constant("token_axis", np.array([1], np.int64))
    x = g.op("ReduceMean", g.norm("norm", x), axes, keepdims=0)
    x = g.linear("classes", x, WIDTH, CLASSES)
    g.nodes.append(helper.make_node("Softmax", [x], ["probabilities"], axis=-1))
    graph = helper.make_graph(
        g.nodes,
        "transformer",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["rows", TOKENS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", CLASSES])],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path = Path(__file__).with_name("model.onnx")
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
