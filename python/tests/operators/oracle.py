"""Asks modelserve and the oracle, and says where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

import modelserve as ms

from .case import BFLOAT16, Case, model, widened

PLANS = ("optimised", "plain")

#: How far floats may be apart, relatively and absolutely.
NEAR = {
    np.dtype(np.float64): (1e-10, 1e-12),
    np.dtype(np.float32): (1e-5, 1e-6),
    np.dtype(np.float16): (2e-3, 1e-3),
    BFLOAT16: (1.6e-2, 1e-2),
}


def complaints(cases: Sequence[Case], tally: Counter[str]) -> list[str]:
    """What is wrong with modelserve's answers to `cases`, by both plans; counts into `tally`."""
    found = []
    for group in _by_versions(cases):
        wanted = _wanted(group)
        for plan in PLANS:
            for case, got, want in zip(group, _got(group, plan), wanted, strict=True):
                verdict, why = judge(case, got, want)
                tally[verdict] += plan == PLANS[0]
                if verdict == "wrong":
                    found.append(f"{plan} plan: {why}\n{case}")
    return found


def _by_versions(cases: Sequence[Case]) -> Iterable[list[Case]]:
    groups: dict[tuple[int, int], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.opset, case.ml), []).append(case)
    return groups.values()


def judge(case: Case, got: Any, want: Any) -> tuple[str, str]:
    """`judged`, `unjudged` or `wrong`, and why it is wrong."""
    if isinstance(got, Exception):
        if not isinstance(got, ms.ModelServeError) or isinstance(got, ms.InternalError):
            return "wrong", f"{type(got).__name__}: {got}"
        if not case.judged or isinstance(want, Exception):
            return "unjudged", ""
        return "wrong", f"refused with {type(got).__name__}: {got}\nexpected {want}"
    if not case.judged or isinstance(want, Exception):
        return "unjudged", ""
    for name, mine, theirs in zip(case.outputs, got, want, strict=True):
        why = difference(mine, theirs, case.precision(), case.loose)
        if why:
            return "wrong", f"{name}: {why}\ngot      {got}\nexpected {want}"
    return "judged", ""


def difference(
    got: Any, want: Any, precision: np.dtype | None = None, loose: float = 1.0
) -> str | None:
    """How two values differ, or None. `precision` is a float coarser than that of the values."""
    if want is None or got is None:
        return None if got is want else f"{got} and not {want}"
    if isinstance(want, list | tuple):
        if not isinstance(got, list) or len(got) != len(want):
            return f"{got} and not the sequence {want}"
        pairs = (difference(g, w, precision, loose) for g, w in zip(got, want, strict=True))
        return next((why for why in pairs if why), None)
    if isinstance(want, dict):
        if not isinstance(got, dict) or list(got) != list(want):
            return f"{got} and not the map {want}"
        pairs = (difference(got[key], want[key], precision, loose) for key in want)
        return next((why for why in pairs if why), None)
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"shape {list(got.shape)} and not {list(want.shape)}"
    if want.dtype.kind in "OUST":
        return None if got.tolist() == want.tolist() else "other texts"
    if want.dtype.kind not in "biuc":
        return _floats(got, want, precision, loose)
    if got.dtype != want.dtype:
        return f"{got.dtype} and not {want.dtype}"
    return None if np.array_equal(got, want) else "other numbers"


def _floats(got: np.ndarray, want: np.ndarray, precision: Any, loose: float) -> str | None:
    if want.dtype == BFLOAT16:
        # The Python face has no bfloat16: it answers the same numbers as float32.
        precision, want = BFLOAT16, want.astype(np.float32)
    if precision is not None:
        with np.errstate(all="ignore"):
            want = want.astype(precision).astype(got.dtype)
    if got.dtype != want.dtype:
        return f"{got.dtype} and not {want.dtype}"
    relative, absolute = NEAR[precision or want.dtype]
    with np.errstate(all="ignore"):
        finite = np.isfinite(got) & np.isfinite(want)
        wide, target = got.astype(np.float64), want.astype(np.float64)
        near = finite & (np.abs(wide - target) <= loose * (absolute + relative * np.abs(target)))
        fine = near | (got == want) | (np.isnan(got) & np.isnan(want))
    if fine.all():
        return None
    worst = np.argmax(np.where(fine, -1.0, np.nan_to_num(np.abs(wide - target), nan=np.inf)))
    return f"{got.flat[worst]} and not {want.flat[worst]} at {worst} ({(~fine).sum()} differ)"


def _got(cases: Sequence[Case], plan: str) -> list[Any]:
    """modelserve's answers, or its errors; one model for all unless one of them is refused."""
    try:
        loaded = ms.load(model(cases).SerializeToString(), plan=plan)
        return _split(cases, loaded.run(_feeds(cases)))
    except Exception as error:
        if len(cases) == 1:
            return [error]
    return [answer for case in cases for answer in _got([case], plan)]


def _wanted(cases: Sequence[Case]) -> list[Any]:
    """What each case has to answer, or the oracle's error where it has no answer."""
    wanted: list[Any] = [None] * len(cases)
    asked = [i for i, case in enumerate(cases) if case.want is None and case.judged]
    for i, case in enumerate(cases):
        if case.want is not None and case.judged:
            with np.errstate(all="ignore"):
                wanted[i] = list(case.want())
    for wide in (False, True):
        chosen = [i for i in asked if cases[i].widens() == wide]
        if chosen:
            stand_ins = [cases[i].oracle or cases[i] for i in chosen]
            for i, answer in zip(chosen, _by_onnxruntime(stand_ins, wide), strict=True):
                wanted[i] = answer
    return wanted


def session(loaded: Any) -> Any:
    """An onnxruntime session that computes each node as it stands, on this thread."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(
        loaded.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _by_onnxruntime(cases: Sequence[Case], wide: bool) -> list[Any]:
    versions = {(case.opset, case.ml) for case in cases}
    try:
        if len(versions) == 1:
            asked = session(model(cases, wide=wide))
            names = [o.name for o in asked.get_outputs()]
            feeds = _feeds(cases, wide)
            return _split(cases, dict(zip(names, asked.run(None, feeds), strict=True)))
    except Exception as error:
        if len(cases) == 1:
            return [_by_reference(cases[0], wide) if _unknown_to_it(error) else error]
    return [answer for case in cases for answer in _by_onnxruntime([case], wide)]


def _unknown_to_it(error: Exception) -> bool:
    text = str(error)
    return any(
        sign in text for sign in ("NOT_IMPLEMENTED", "under development", "not a registered")
    )


def _by_reference(case: Case, wide: bool) -> Any:
    """The reference implementation's answer, for what onnxruntime has not for a type."""
    try:
        with np.errstate(all="ignore"):
            made = model([case], wide=wide)
            answers = ReferenceEvaluator(made).run(None, _feeds([case], wide))
        return list(answers)
    except Exception as error:
        return error


def _feeds(cases: Sequence[Case], wide: bool = False) -> dict[str, Any]:
    return {
        f"c{i}_{name}": widened(value) if wide else value
        for i, case in enumerate(cases)
        for name, value in case.inputs.items()
    }


def _split(cases: Sequence[Case], answers: dict[str, Any]) -> list[Any]:
    return [[answers[f"c{i}_{name}"] for name in case.outputs] for i, case in enumerate(cases)]
