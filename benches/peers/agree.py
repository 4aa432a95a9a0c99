"""All engines give the same answers, or their times mean nothing."""

from __future__ import annotations

import numpy as np
from engine import Answers, Engine

#: Relative to the larger of 1 and the value: float32 sums of hundreds of trees in any order.
TOLERANCE = 1e-4


def disagreement(given: dict[str, Answers]) -> str | None:
    """Which engine differs from the first one and by how much, or None where all agree."""
    names = list(given)
    truth = given[names[0]]
    for name in names[1:]:
        answers = given[name]
        if answers.shape != truth.shape:
            return f"{name} answers {answers.shape}, {names[0]} {truth.shape}"
        error = np.abs(answers - truth) / np.maximum(1, np.abs(truth))
        error = np.nan_to_num(error, nan=np.inf)
        rows = (error > TOLERANCE).any(axis=1)
        if rows.any():
            row = int(error.max(axis=1).argmax())
            return (
                f"{name} differs from {names[0]} in {rows.sum()} of {len(truth)} rows, "
                f"most in row {row}: {answers[row].tolist()} and {truth[row].tolist()}"
            )
    return None


def check(engines: list[Engine], form: str, count: int) -> str | None:
    """Asks every engine with the calls that are timed."""
    return disagreement({engine.name: engine.checked(form, count) for engine in engines})
