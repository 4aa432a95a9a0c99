"""Attention and rotary embeddings, against NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, hold


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(g: Draw) -> Case:
    """Heads apart or side by side, groups of query heads, masks of either kind, causality."""
    batch, groups, heads = g.int(1, 2), g.int(1, 2), g.int(1, 2)
    queries, keys, size, wide = (g.int(1, 4) for _ in range(4))
    dtype = g.pick(("float32", "float32", "float64", "float16"))
    q = g.values(dtype, [batch, heads * groups, queries, size], "normal")
    k = g.values(dtype, [batch, heads, keys, size], "normal")
    v = g.values(dtype, [batch, heads, keys, wide], "normal")
    causal = g.pick((None, 0, 1))
    scale = g.pick((None, 0.5))
    cap = g.pick((None, None, 2.0))
    mask: np.ndarray | None = None
    if g.flag():
        shape = g.pick(
            ([queries, keys], [batch, 1, queries, keys], [batch, heads * groups, queries, keys])
        )
        mask = g.values("bool", shape) if g.flag() else g.values(dtype, shape, "small")
        if mask.dtype == bool:
            # A row that sees nothing has no answer.
            mask[..., 0] = True
    flat = g.flag()
    attributes: dict[str, Any] = {"is_causal": causal, "scale": scale, "softcap": cap}

    def beside(x: np.ndarray) -> np.ndarray:
        return x.swapaxes(1, 2).reshape(batch, x.shape[2], -1) if flat else x

    if flat:
        attributes |= {"q_num_heads": heads * groups, "kv_num_heads": heads}

    def want() -> list[np.ndarray]:
        left, right, value = (t.astype(np.float64) for t in (q, k, v))
        right, value = (np.repeat(t, groups, axis=1) for t in (right, value))
        scores = left @ right.swapaxes(2, 3) * (scale or 1 / math.sqrt(size))
        if cap is not None:
            scores = cap * np.tanh(scores / cap)
        if mask is not None and mask.dtype == bool:
            scores = np.where(mask, scores, -np.inf)
        elif mask is not None:
            scores = scores + mask.astype(np.float64)
        if causal:
            scores = np.where(np.tri(queries, keys, dtype=bool), scores, -np.inf)
        return [beside(softmax(scores) @ value).astype(q.dtype)]

    values: list[Any] = [beside(q), beside(k), beside(v)]
    if mask is not None:
        values.append(mask)
    # The order of the mask and the cap has changed between opset 23 and its correction.
    judged = cap is None or mask is None
    return single(
        "Attention",
        values,
        attributes,
        opset=23,
        constant=g.constants(len(values)),
        want=want,
        loose=10,
        judged=judged and not (cap is not None and causal),
    )


def rotary(g: Draw) -> Case:
    batch, heads, steps, half = g.int(1, 2), g.int(1, 2), g.int(1, 3), g.int(1, 3)
    rest = 2 * g.int(0, 1)
    size = 2 * half + rest
    x = g.values("float32", [batch, heads, steps, size], "normal")
    paired = g.pick((None, 0, 1))
    positions = g.flag()
    rows = steps + 2
    angles = g.rng().standard_normal((rows, half) if positions else (batch, steps, half))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    values: list[Any] = [x, cos, sin]
    at = g.rng().integers(0, rows, (batch, steps))
    if positions:
        values.append(at.astype(np.int64))
    flat = g.flag()
    attributes: dict[str, Any] = {
        "interleaved": paired,
        "rotary_embedding_dim": 2 * half if rest else None,
        "num_heads": heads if flat else None,
    }

    def beside(t: np.ndarray) -> np.ndarray:
        return t.swapaxes(1, 2).reshape(batch, steps, -1) if flat else t

    def want() -> list[np.ndarray]:
        c, s = (t[at] if positions else t for t in (cos, sin))
        c, s = c[:, None], s[:, None]
        turned, kept = x[..., : 2 * half], x[..., 2 * half :]
        if paired:
            a, b = turned[..., 0::2], turned[..., 1::2]
        else:
            a, b = turned[..., :half], turned[..., half:]
        real, imaginary = a * c - b * s, a * s + b * c
        if paired:
            y = np.stack([real, imaginary], -1).reshape(turned.shape)
        else:
            y = np.concatenate([real, imaginary], -1)
        return [beside(np.concatenate([y, kept], -1)).astype(np.float32)]

    values[0] = beside(x)
    constant = g.constants(len(values))
    return single(
        "RotaryEmbedding", values, attributes, opset=23, constant=constant, want=want, loose=4
    )


def test_attention() -> None:
    hold(attention, rotary, examples=15)
