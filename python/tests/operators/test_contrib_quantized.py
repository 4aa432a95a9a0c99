"""Operators of com.microsoft that quantisers and saved graphs hold, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case
from .strategies import Draw, hold
from .test_contrib import microsoft

BYTES = ("uint8", "int8")


def small(g: Draw, shape: list[int], scale: float = 1.0) -> np.ndarray:
    return (g.rng().uniform(-1, 1, shape) * scale).astype(np.float32)


def levels(g: Draw, dtype: str, shape: list[int]) -> np.ndarray:
    about = np.iinfo(dtype)
    return g.rng().integers(about.min, about.max + 1, shape).astype(dtype)


def weights(g: Draw, dtype: str, shape: list[int]) -> np.ndarray:
    """Levels of seven bits: onnxruntime adds pairs of products of eight bits in sixteen."""
    low = np.iinfo(dtype).min // 2
    return g.rng().integers(low, low + 128, shape).astype(dtype)


def attention(g: Draw) -> Case:
    batch, length, width, heads, size = g.int(1, 2), g.int(1, 4), g.int(1, 4), g.int(1, 2), 4
    hidden, past = heads * size, g.pick((0, 0, 2))
    # onnxruntime has a kernel for inputs of uint8.
    kinds = "uint8", g.pick(BYTES)
    columns = g.pick(([], [3 * hidden]))
    scale = np.abs(small(g, columns, 0.002)) + np.float32(1e-4)
    values: list[Any] = [
        levels(g, kinds[0], [batch, length, width]),
        weights(g, kinds[1], [width, 3 * hidden]),
        small(g, [3 * hidden]),
        np.float32(0.01),
        scale,
        None,
        levels(g, kinds[0], []) if g.flag() else None,
        None,
        small(g, [2, batch, heads, past, size]) if past else None,
    ]
    if values[6] is not None and g.flag():
        values[7] = weights(g, kinds[1], columns)
    if not past and g.flag():
        values[5] = g.rng().integers(1, length + 1, [batch]).astype(np.int32)
    while values[-1] is None:
        values.pop()
    given = [i for i in (1, 2, 3, 4, 6, 7) if i < len(values) and values[i] is not None]
    outputs = 2 if past else 1
    attributes = {"num_heads": heads, "unidirectional": g.pick((None, 0, 1))}
    return microsoft("QAttention", values, attributes, outputs=outputs, constant=given, loose=50)


def gather(g: Draw) -> Case:
    """Rows of bytes that hold numbers of 4 or 8 bits."""
    rows, blocks, block = g.int(1, 4), g.int(1, 3), 16
    bits = g.pick((4, 8))
    data = levels(g, "uint8", [rows, blocks * block * bits // 8])
    shape = g.shape(1, 2, empty=False)
    indices = g.rng().integers(-rows, rows, shape).astype(g.pick(("int32", "int64")))
    values: list[Any] = [data, indices, small(g, [rows, blocks])]
    if g.flag():
        values.append(levels(g, "uint8", [rows, -(-blocks * bits // 8)]))
    attributes = {"bits": bits, "block_size": block, "quantize_axis": g.pick((1, -1))}
    given = [i for i in (0, 2, 3) if i < len(values)]
    return microsoft("GatherBlockQuantized", values, attributes, constant=given)


def bits_and_bytes(g: Draw) -> Case:
    rows, inner, columns, block = g.int(1, 3), g.int(1, 40), g.int(1, 5), g.pick((16, 32))
    count = inner * columns
    values = [
        small(g, [rows, inner]),
        levels(g, "uint8", [-(-count // 2)]),
        np.abs(small(g, [-(-count // block)])),
    ]
    attributes = {"K": inner, "N": columns, "block_size": block, "quant_type": g.int(0, 1)}
    return microsoft("MatMulBnb4", values, attributes, constant=[1, 2], loose=10)


def embedding(g: Draw) -> Case:
    batch, length, width, words = g.int(1, 2), g.int(1, 3), g.int(2, 6), g.int(1, 5)
    segments = g.flag()
    kind = g.pick(BYTES)

    def table(*shape: int) -> np.ndarray:
        return levels(g, kind, list(shape))

    ids = g.rng().integers(0, words, [batch, length]).astype(np.int32)
    parts = g.rng().integers(0, 2, [batch, length]).astype(np.int32)
    mask = g.rng().integers(0, 2, [batch, length]).astype(np.int32) if g.flag() else None
    scales = [np.float32(2.0 ** g.int(-6, -3)) for _ in range(5)]
    zeros = [levels(g, kind, []) for _ in range(5)]
    tables: list[Any] = [table(words, width), table(length, width), table(2, width)]
    if not segments:
        parts, tables[2], scales[2], zeros[2] = None, None, None, None
    values = [ids, parts, *tables, table(width), table(width), mask, *scales, *zeros]
    given = [i for i, v in enumerate(values) if v is not None and i not in (0, 1, 7)]
    attributes = {"epsilon": g.pick((1e-3, 1e-2))}
    op = "QEmbedLayerNormalization"
    return microsoft(op, values, attributes, outputs=2, constant=given, loose=50)


def pool(g: Draw) -> Case:
    x = levels(g, g.pick(BYTES), [g.int(1, 2), 5, 6, g.int(1, 3)])
    attributes = {
        "kernel_shape": [g.int(1, 3), g.int(1, 3)],
        "strides": g.pick((None, [1, 2])),
        "dilations": g.pick((None, [2, 1])),
        "ceil_mode": g.pick((None, 1)),
    }
    return microsoft("NhwcMaxPool", [x], attributes, loose=0)


def convolution(g: Draw) -> Case:
    depth, width, kind = g.int(1, 3), g.int(1, 3), g.pick(BYTES)
    values: list[Any] = [
        levels(g, kind, [1, 5, 6, depth]),
        np.float32(0.05),
        levels(g, kind, []),
        weights(g, "int8", [width, depth, 2, 3]),
        np.float32(0.03),
        np.int8(0),
        np.float32(0.5),
        levels(g, kind, []),
    ]
    if g.flag():
        values.append(g.rng().integers(-500, 500, [width]).astype(np.int32))
    attributes = {"channels_last": 1, "pads": [g.int(0, 1)] * 4, "strides": [1, g.int(1, 2)]}
    given = range(1, len(values))
    return microsoft("QLinearConv", values, attributes, constant=given, loose=0)


def test_quantised_contrib() -> None:
    hold(attention, gather, bits_and_bytes, embedding, pool, convolution, examples=15)
