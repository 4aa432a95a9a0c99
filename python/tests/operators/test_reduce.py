"""Reductions, arg-reductions and running sums, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold, is_float, limits

Axes = tuple[int, ...]


def lowest(x: np.ndarray) -> Any:
    """What the maximum of nothing is."""
    name = x.dtype.name
    return -np.inf if is_float(name) else False if name == "bool" else limits(name)[0]


def highest(x: np.ndarray) -> Any:
    """What the minimum of nothing is."""
    name = x.dtype.name
    return np.inf if is_float(name) else True if name == "bool" else limits(name)[1]


def _log_sum_exp(x: np.ndarray, axis: Axes, keepdims: bool) -> np.ndarray:
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
    result = np.log(total) + top
    return result if keepdims else np.squeeze(result, axis)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum,
    "ReduceProd": np.prod,
    "ReduceMean": np.mean,
    "ReduceMax": lambda x, axis, keepdims: np.max(
        x, axis=axis, keepdims=keepdims, initial=lowest(x)
    ),
    "ReduceMin": lambda x, axis, keepdims: np.min(
        x, axis=axis, keepdims=keepdims, initial=highest(x)
    ),
    "ReduceSumSquare": lambda x, axis, keepdims: np.sum(x * x, axis=axis, keepdims=keepdims),
    "ReduceL1": lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims),
    "ReduceL2": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
    "ReduceLogSum": lambda x, axis, keepdims: np.log(np.sum(x, axis=axis, keepdims=keepdims)),
    "ReduceLogSumExp": _log_sum_exp,
}
#: Those whose result for integers has no fraction.
WHOLE = ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL1")
#: Those that an axis of one element leaves as it is.
IDEMPOTENT = ("ReduceSum", "ReduceProd", "ReduceMean", "ReduceMax", "ReduceMin")


def reduced(op: str, x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    f = REDUCTIONS[op]
    if op in ("ReduceMax", "ReduceMin"):
        # NumPy's extremes know no bfloat16: single precision has the same order.
        wide = x.astype(np.float32) if x.dtype.name == "bfloat16" else x
    else:
        wide = x.astype(np.float64) if is_float(x.dtype.name) else x
    return np.asarray(f(wide, axis=axes, keepdims=keepdims)).astype(x.dtype)


def reduction(g: Draw) -> Case:
    op = g.pick(list(REDUCTIONS))
    opset = g.pick((11, 13, 18, 20))
    names = allowed(op, opset)
    dtype = g.dtype(names if op in WHOLE else [n for n in names if is_float(n)])
    if opset < 20 and op in ("ReduceMax", "ReduceMin", "ReduceMean"):
        # What the extreme of nothing is has been said with opset 20, the mean's never.
        shape = g.shape(empty=False)
    else:
        shape = g.shape(empty=op != "ReduceMean")
    kinds = ("small", "positive", "special" if is_float(dtype) else "corners")
    x = g.values(dtype, shape, g.pick(kinds))
    axes = g.axes(len(shape), 1) if shape else []
    keepdims = g.pick((None, 0, 1))
    attributes: dict[str, Any] = {"keepdims": keepdims}
    inputs = [x]
    # Without axes the reduction is over all of them, unless that is declared to be nothing.
    nothing = False
    if axes and g.int(0, 3):
        if opset >= 18 or (op == "ReduceSum" and opset >= 13):
            inputs.append(np.array(axes, np.int64))
        else:
            attributes["axes"] = axes
    else:
        axes = list(range(len(shape)))
        if (opset >= 18 or (op == "ReduceSum" and opset >= 13)) and op in IDEMPOTENT:
            nothing = g.flag()
            attributes["noop_with_empty_axes"] = int(nothing) if nothing or g.flag() else None
            if g.flag():
                inputs.append(np.array([], np.int64))
    chosen = tuple(a % len(shape) for a in axes)
    return single(
        op,
        inputs,
        attributes,
        opset=opset,
        constant=g.constants(len(inputs)),
        want=lambda: [x if nothing else reduced(op, x, chosen, keepdims != 0)],
    )


def position(g: Draw) -> Case:
    """Ties are the point: few different values."""
    op = g.pick(("ArgMax", "ArgMin"))
    opset = g.pick((11, 12, 13))
    x = g.values(g.dtype(allowed(op, opset)), g.shape(1, empty=False), g.pick(("small", "corners")))
    if x.dtype.kind not in "iub":
        # Where a NaN is, the specification does not say which element is the greatest.
        x = np.nan_to_num(x.astype(np.float64), nan=0, posinf=np.inf, neginf=-np.inf).astype(
            x.dtype
        )
    axis = g.axis(x.ndim)
    keepdims = g.pick((None, 0, 1))
    last = g.pick((None, 0, 1)) if opset >= 12 else None
    attributes = {"axis": axis if axis or g.flag() else None, "keepdims": keepdims}
    attributes["select_last_index"] = last
    f = np.argmax if op == "ArgMax" else np.argmin

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float32) if x.dtype.name == "bfloat16" else x
        if last:
            found = wide.shape[axis] - 1 - f(np.flip(wide, axis), axis=axis, keepdims=True)
        else:
            found = f(wide, axis=axis, keepdims=True)
        return [np.asarray(found if keepdims != 0 else np.squeeze(found, axis)).astype(np.int64)]

    return single(op, [x], attributes, opset=opset, constant=g.constants(1), want=want)


def running(g: Draw) -> Case:
    opset = g.pick((11, 14))
    dtype = g.dtype(allowed("CumSum", opset))
    x = g.values(dtype, g.shape(1), g.pick(("small", "special" if is_float(dtype) else "corners")))
    axis = g.axis(x.ndim)
    exclusive, reverse = g.flag(), g.flag()
    where = np.array(axis, g.pick((np.int32, np.int64)))

    def want() -> list[np.ndarray]:
        wide = x.astype(np.float64) if is_float(dtype) else x
        wide = np.flip(wide, axis) if reverse else wide
        if exclusive:
            # Not the sum less the element: a NaN would stay in it.
            moved = np.roll(wide, 1, axis)
            first = [slice(None)] * x.ndim
            first[axis] = slice(0, 1)
            moved[tuple(first)] = 0
            wide = moved
        total = np.cumsum(wide, axis=axis, dtype=wide.dtype)
        return [(np.flip(total, axis) if reverse else total).astype(x.dtype)]

    attributes = {"exclusive": int(exclusive), "reverse": int(reverse)}
    return single("CumSum", [x, where], attributes, opset=opset, constant=g.constants(2), want=want)


def test_reductions() -> None:
    hold(reduction, examples=25)


def test_arg_reductions() -> None:
    hold(position)


def test_running_sums() -> None:
    hold(running)
