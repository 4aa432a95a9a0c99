"""Sampling, boxes and determinants, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold
from .test_windows import numbers


def grid_sample(g: Draw) -> Case:
    opset = g.pick((16, 20))
    modes = ("bilinear", "nearest", "bicubic") if opset == 16 else ("linear", "nearest", "cubic")
    x = g.values("float32", [g.int(1, 2), g.int(1, 2), *numbers(g, 2, 2, 5)], "small")
    grid = g.rng().uniform(-1.4, 1.4, [x.shape[0], *numbers(g, 2, 1, 4), 2]).astype(np.float32)
    attributes = {
        "mode": g.pick((None, *modes)),
        "padding_mode": g.pick((None, "zeros", "border", "reflection")),
        "align_corners": g.pick((None, 0, 1)),
    }
    constant = g.constants(2)
    return single("GridSample", [x, grid], attributes, opset=opset, constant=constant, loose=20)


def affine_grid(g: Draw) -> Case:
    rank = g.int(2, 3)
    batch = g.int(1, 2)
    theta = g.values("float32", [batch, rank, rank + 1], "small")
    size = np.array([batch, 1, *numbers(g, rank, 2, 4)], np.int64)
    align = g.pick((None, 0, 1))
    return single(
        "AffineGrid", [theta, size], {"align_corners": align}, opset=20, constant=g.constants(2)
    )


def roi_align(g: Draw) -> Case:
    opset = g.pick((10, 16))
    x = g.values("float32", [g.int(1, 2), g.int(1, 2), *numbers(g, 2, 4, 8)], "small")
    count = g.int(1, 3)
    low = g.rng().uniform(0, 3, (count, 2))
    rois = np.concatenate([low, low + g.rng().uniform(0.5, 5, (count, 2))], 1).astype(np.float32)
    batch = g.rng().integers(0, x.shape[0], count).astype(np.int64)
    attributes: dict[str, Any] = {
        # onnxruntime's maximum is of the weighted corners, not of the samples.
        "mode": g.pick((None, "avg")),
        "output_height": g.pick((None, 2, 3)),
        "output_width": g.pick((None, 2, 3)),
        "sampling_ratio": g.pick((None, 0, 2)),
        "spatial_scale": g.pick((None, 0.5)),
    }
    if opset == 16:
        attributes["coordinate_transformation_mode"] = g.pick(
            (None, "half_pixel", "output_half_pixel")
        )
    constant = g.constants(3)
    return single(
        "RoiAlign", [x, rois, batch], attributes, opset=opset, constant=constant, loose=10
    )


def suppression(g: Draw) -> Case:
    batch, classes, count = g.int(1, 2), g.int(1, 2), g.int(1, 6)
    rng = g.rng()
    low = rng.uniform(0, 2, (batch, count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 2, low.shape)], -1).astype(np.float32)
    # All different: the order of equals is not said.
    order = rng.permutation(batch * classes * count).reshape(batch, classes, count)
    scores = ((order + 1) / (order.size + 1)).astype(np.float32)
    values: list[Any] = [boxes, scores]
    if g.flag():
        values.append(np.array([g.int(0, 4)], np.int64))
        if g.flag():
            values.append(np.array([g.pick((0.0, 0.3, 0.7))], np.float32))
            if g.flag():
                values.append(np.array([0.35], np.float32))
    attributes = {"center_point_box": g.pick((None, 0, 1))}
    return single(
        "NonMaxSuppression", values, attributes, opset=11, constant=g.constants(len(values))
    )


def determinant(g: Draw) -> Case:
    dtype = g.dtype(allowed("Det", 22))
    n = g.int(1, 4)
    x = g.values(dtype, [*g.shape(0, 2, empty=False), n, n], "small")

    def want() -> list[np.ndarray]:
        return [np.asarray(np.linalg.det(x.astype(np.float64))).astype(x.dtype)]

    # Of a singular matrix what remains is what rounding has left.
    return single("Det", [x], opset=22, constant=g.constants(1), want=want, loose=1e3)


def columns(g: Draw) -> Case:
    rank = 2
    block, image = numbers(g, rank, 1, 2), numbers(g, rank, 4, 6)
    strides, pads = numbers(g, rank, 1, 2), numbers(g, 2 * rank, 0, 1)
    dilations = numbers(g, rank, 1, 2)
    counts = [
        (image[i] + pads[i] + pads[i + rank] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    ]
    channels = g.int(1, 2)
    shape = [g.int(1, 2), channels * int(np.prod(block)), int(np.prod(counts))]
    values = [g.values("float32", shape, "small"), np.array(image), np.array(block)]
    attributes = {"strides": strides, "pads": pads, "dilations": dilations}
    return single("Col2Im", values, attributes, opset=18, constant=g.constants(3))


def loss(g: Draw) -> Case:
    op = g.pick(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"))
    classes, more = g.int(1, 4), g.shape(0, 2, empty=False)
    shape = [g.int(1, 3), classes, *more]
    x = g.values("float32", shape, "normal")
    target = g.rng().integers(0, classes, [shape[0], *more]).astype(np.int64)
    values = [x, target]
    if g.flag():
        values.append(g.values("float32", [classes], "positive"))
    attributes = {
        "reduction": g.pick((None, "none", "sum", "mean")),
        "ignore_index": g.pick((None, None, 0)),
    }
    # The mean of nothing.
    judged = attributes["ignore_index"] is None or bool((target != 0).any())
    constant = g.constants(len(values))
    return single(op, values, attributes, opset=13, constant=constant, judged=judged, loose=4)


def test_vision() -> None:
    hold(grid_sample, affine_grid, roi_align, suppression, determinant, columns, examples=20)


def test_losses() -> None:
    hold(loss)
