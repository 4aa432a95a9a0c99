"""Transforms and windows of signals, against NumPy and onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from .case import Case, single
from .strategies import Draw, hold

FLOATS = ("float32", "float64")


def dft(g: Draw) -> Case:
    opset = g.pick((17, 20))
    dtype = g.pick(FLOATS)
    inverse, onesided = g.pick((None, 0, 1)), g.pick((None, 0, 1))
    parts = 1 if onesided and not inverse else g.pick((1, 2))
    if inverse:
        onesided, parts = None, 2
    shape = [g.int(1, 2), *g.shape(1, 2, empty=False, side=6), parts]
    x = g.values(dtype, shape, g.pick(("small", "normal")))
    axis = g.int(1, x.ndim - 2) if opset == 17 or g.flag() else g.int(-x.ndim + 1, -2)
    length = g.int(1, 8) if g.flag() else None
    values: list[Any] = [x, None if length is None else np.array(length, np.int64)]
    attributes: dict[str, Any] = {"inverse": inverse, "onesided": onesided}
    if opset == 17:
        attributes["axis"] = axis
    else:
        values.append(np.array(axis, np.int64))
    while values[-1] is None:
        values.pop()

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64)
        signal = wide[..., 0] + (1j * wide[..., 1] if parts == 2 else 0)
        at = axis if axis >= 0 else axis + 1
        f = np.fft.ifft if inverse else np.fft.fft
        y = f(signal, length, at)
        if onesided:
            y = np.take(y, range(y.shape[at] // 2 + 1), at)
        return [np.stack([y.real, y.imag], -1).astype(dtype)]

    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    return single("DFT", values, attributes, opset=opset, constant=constant, want=want, loose=20)


COEFFICIENTS: dict[str, tuple[float, ...]] = {
    "HannWindow": (0.5, 0.5),
    "HammingWindow": (25 / 46, 21 / 46),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


def window(g: Draw) -> Case:
    op = g.pick(list(COEFFICIENTS))
    size = g.int(2, 12)
    periodic = g.pick((None, 0, 1))
    kind = g.pick((None, TensorProto.FLOAT, TensorProto.DOUBLE))
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    phase = 2 * np.pi * np.arange(size) / (size - 1 if periodic == 0 else size)
    terms = COEFFICIENTS[op]
    y = sum((-1) ** i * c * np.cos(i * phase) for i, c in enumerate(terms))
    attributes = {"periodic": periodic, "output_datatype": kind}
    values = [np.array(size, g.pick((np.int64, np.int32)))]
    # Of double precision the coefficients are single in some implementations.
    return single(
        op,
        values,
        attributes,
        constant=g.constants(1),
        loose=0.1 if kind != TensorProto.DOUBLE else 1e5,
        want=lambda: [np.asarray(y).astype(dtype)],
    )


def stft(g: Draw) -> Case:
    dtype = g.pick(FLOATS)
    frame, hop = g.int(2, 6), g.int(1, 4)
    length = frame + hop * g.int(0, 3) + g.int(0, hop - 1)
    onesided = g.pick((None, 0, 1))
    signal = g.values(dtype, [g.int(1, 2), length, 1], g.pick(("small", "normal")))
    shaped = g.flag()
    weights = g.values(dtype, [frame], "small") if shaped else None
    size = None if shaped and g.flag() else np.array(frame, np.int64)
    values: list[Any] = [signal, np.array(hop, np.int64), weights, size]
    while values[-1] is None:
        values.pop()

    def want() -> list[np.ndarray]:
        wide = signal[..., 0].astype(np.float64)
        starts = range(0, length - frame + 1, hop)
        frames = np.stack([wide[:, s : s + frame] for s in starts], 1)
        frames = frames if weights is None else frames * weights.astype(np.float64)
        y = np.fft.fft(frames, axis=-1)
        y = y if onesided == 0 else y[..., : frame // 2 + 1]
        return [np.stack([y.real, y.imag], -1).astype(dtype)]

    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    attributes = {"onesided": onesided}
    return single("STFT", values, attributes, opset=17, constant=constant, want=want, loose=20)


def mel(g: Draw) -> Case:
    low = float(g.int(0, 20))
    values = [
        np.array(g.int(2, 6), np.int64),
        np.array(g.int(8, 32), np.int64),
        np.array(g.pick((8000, 16000)), np.int64),
        np.array(low, np.float32),
        np.array(float(g.pick((3000, 4000))), np.float32),
    ]
    return single("MelWeightMatrix", values, constant=g.constants(5), loose=10)


def test_signal() -> None:
    hold(dft, window, stft, mel, examples=15)
