"""Resizing, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold

COORDINATES = ("half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners")


def resize(g: Draw) -> Case:
    opset = g.pick((11, 13, 18, 19))
    dtype = g.dtype(allowed("Resize", opset), "float")
    mode = g.pick(("nearest", "linear", "cubic"))
    rank = g.int(1, 2) if mode != "cubic" else 2
    spatial = [int(n) for n in g.rng().integers(1, 6, rank)]
    x = g.values(dtype, [g.int(1, 2), g.int(1, 2), *spatial], "small")
    coordinates = g.pick(COORDINATES)
    attributes: dict[str, Any] = {
        "mode": mode if mode != "nearest" or g.flag() else None,
        "coordinate_transformation_mode": coordinates,
    }
    if mode == "nearest":
        attributes["nearest_mode"] = g.pick(
            (None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        )
    if mode == "cubic":
        attributes["cubic_coeff_a"] = g.pick((None, -0.5))
        attributes["exclude_outside"] = g.pick((None, 0, 1))
    scales, sizes = None, None
    if g.flag():
        factors = [g.pick((0.5, 1.0, 2.0, 1.5, 3.0)) for _ in spatial]
        # Nothing may remain of a side of one.
        factors = [f if f * s >= 1 else 1.0 for f, s in zip(factors, spatial, strict=True)]
        # onnxruntime cuts the resized length before it aligns the corners; the specification and
        # its reference do not.
        if coordinates == "align_corners":
            factors = [f if f * s % 1 == 0 else 2.0 for f, s in zip(factors, spatial, strict=True)]
        scales = np.array([1, 1, *factors], np.float32)
    else:
        sizes = np.array([*x.shape[:2], *(g.int(1, 8) for _ in spatial)], np.int64)
    roi = np.array([], np.float32)
    values: list[Any] = [x, roi if opset < 13 or g.flag() else None, scales, sizes]
    if opset < 13 and scales is None:
        values[2] = np.array([], np.float32)
    while values[-1] is None:
        values.pop()
    constant = [i for i in g.constants(len(values)) if values[i] is not None]
    # Weights of both signs, computed from positions in float32 there.
    case: dict[str, Any] = {"wide": dtype != "float32", "loose": 8.0 if mode == "cubic" else 1.0}
    return single("Resize", values, attributes, opset=opset, constant=constant, **case)


def upsample(g: Draw) -> Case:
    opset = g.pick((7, 9))
    mode = g.pick(("nearest", "linear"))
    x = g.values("float32", [g.int(1, 2), g.int(1, 2), *g.shape(2, 2, empty=False)], "small")
    scales = [1.0, 1.0, *(g.pick((1.0, 1.5, 2.0, 3.0)) for _ in range(2))]
    if opset == 7:
        return single("Upsample", [x], {"mode": mode, "scales": scales}, opset=7)
    values = [x, np.array(scales, np.float32)]
    return single("Upsample", values, {"mode": mode}, opset=9, constant=g.constants(2))


def test_resize() -> None:
    hold(resize, resize, resize, upsample, examples=15)
