"""Single operators of networks beside onnxruntime, on shapes of ResNet-18, MobileNetV2, MiniLM.

    python benches/operators.py [--rounds 30] [--threads 1] [--output build/operators.md]

Each model is one operator (with a constant weight where it has one). Both engines get the same
float32 input, have to agree within 1e-3, and are timed in turns in this one process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import modelserve


@dataclass
class Line:
    """One operator on one shape."""

    title: str
    model: onnx.ModelProto
    feed: dict[str, np.ndarray]


def one(title: str, op: str, inputs: list[np.ndarray], weights: int, **attributes: Any) -> Line:
    """A model of one node whose last `weights` inputs are constants."""
    names = [f"x{i}" for i in range(len(inputs))]
    free = len(inputs) - weights
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)],
        "operator",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape)
            for n, a in zip(names[:free], inputs[:free], strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in zip(names[free:], inputs[free:], strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    return Line(title, model, dict(zip(names[:free], inputs[:free], strict=True)))


def lines(rng: np.random.Generator) -> Iterator[Line]:
    """The operators and shapes."""

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    for channels, size, out, kernel, stride in [
        (3, 224, 64, 7, 2),
        (64, 56, 64, 3, 1),
        (64, 56, 128, 3, 2),
        (128, 28, 128, 3, 1),
        (256, 14, 256, 3, 1),
        (512, 7, 512, 3, 1),
        (64, 56, 256, 1, 1),
        (256, 14, 1024, 1, 1),
    ]:
        pad = kernel // 2
        yield one(
            f"Conv {kernel}x{kernel}/{stride}, {channels}x{size}x{size} → {out}",
            "Conv",
            [array(1, channels, size, size), array(out, channels, kernel, kernel), array(out)],
            2,
            pads=[pad] * 4,
            strides=[stride] * 2,
        )
    for channels, size, stride in [(32, 112, 1), (144, 56, 1), (192, 28, 2), (576, 14, 1)]:
        yield one(
            f"depthwise 3x3/{stride}, {channels}x{size}x{size}",
            "Conv",
            [array(1, channels, size, size), array(channels, 1, 3, 3), array(channels)],
            2,
            pads=[1] * 4,
            strides=[stride] * 2,
            group=channels,
        )
    yield one("Softmax, 12x128x128", "Softmax", [array(1, 12, 128, 128)], 0, axis=-1)
    yield one("Softmax, 1x1000", "Softmax", [array(1, 1000)], 0, axis=-1)
    yield one("Gelu, 128x1536", "Gelu", [array(1, 128, 1536)], 0)
    yield one("Erf, 128x1536", "Erf", [array(1, 128, 1536)], 0)
    yield one(
        "LayerNormalization, 128x384",
        "LayerNormalization",
        [array(1, 128, 384), array(384), array(384)],
        2,
    )
    for rows, inner, columns in [
        (128, 384, 1536),
        (128, 1536, 384),
        (128, 384, 384),
        (1, 512, 1000),
    ]:
        yield one(
            f"MatMul, {rows}x{inner} · {inner}x{columns}",
            "MatMul",
            [array(1, rows, inner), array(inner, columns)],
            1,
        )
    yield one(
        "MatMul, 12 x 128x32 · 32x128", "MatMul", [array(1, 12, 128, 32), array(1, 12, 32, 128)], 0
    )
    yield one("Relu, 64x112x112", "Relu", [array(1, 64, 112, 112)], 0)
    yield one("Transpose, 128x12x32", "Transpose", [array(1, 128, 12, 32)], 0, perm=[0, 2, 1, 3])
    yield one(
        "MaxPool 3x3/2, 64x112x112",
        "MaxPool",
        [array(1, 64, 112, 112)],
        0,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1] * 4,
    )


def repeats(call: Callable[[], object]) -> int:
    """How many calls take about 2 ms."""
    call()
    start = time.perf_counter()
    call()
    return max(1, min(2000, int(0.002 / max(time.perf_counter() - start, 1e-7))))


def measure(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median time of each call in µs, timed in turns."""
    counts = [repeats(call) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        for k in range(len(calls)):
            i = (k + number) % len(calls)
            start = time.perf_counter()
            for _ in range(counts[i]):
                calls[i]()
            times[i].append((time.perf_counter() - start) / counts[i] * 1e6)
    return [statistics.median(t) for t in times]


def main() -> None:
    """Runs all lines and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="lines whose title has this text")
    parser.add_argument("--output", type=Path, help="where the table goes too")
    options = parser.parse_args()
    table = [
        f"modelserve {modelserve.__version__}, onnxruntime {ort.__version__}, "
        f"threads {options.threads}, medians of {options.rounds} rounds",
        "",
        "| operator | modelserve, µs | onnxruntime, µs | ours ÷ theirs |",
        "|---|---:|---:|---:|",
    ]
    print("\n".join(table), flush=True)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 4
    for line in lines(np.random.default_rng(1)):
        if options.only not in line.title:
            continue
        raw = line.model.SerializeToString()
        session = ort.InferenceSession(raw, settings, providers=["CPUExecutionProvider"])
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(raw)
            file.flush()
            model = modelserve.load(file.name, threads=options.threads)
        feed = line.feed
        np.testing.assert_allclose(
            model.run(feed)["y"], session.run(None, feed)[0], rtol=1e-3, atol=1e-3
        )
        calls = [partial(model.run, feed), partial(session.run, None, feed)]
        ours, theirs = measure(calls, options.rounds)
        row = f"| {line.title} | {ours:,.1f} | {theirs:,.1f} | {ours / theirs:.2f} |"
        print(row, flush=True)
        table.append(row)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
