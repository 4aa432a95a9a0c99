"""Whether two runners answer alike: a faster wrong answer is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .runners import Feed, Runner

#: How far numbers may be apart, relative to those above 1: sums in another order differ by less.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How two answers to the same rows compare."""

    rows: int
    #: Labels and other whole numbers or texts that differ.
    different_labels: int
    max_difference: float

    @property
    def same(self) -> bool:
        """Whether they are as good as equal."""
        return self.different_labels == 0 and self.max_difference <= _TOLERANCE


def compare(a: Runner, b: Runner, feed: Feed) -> Agreement:
    """Asks both and compares the outputs of the same names."""
    left, right = a.run(feed), b.run(feed)
    labels, difference = 0, 0.0
    for name in left.keys() & right.keys():
        one, other = _array(left[name]), _array(right[name])
        if one.shape != other.shape:
            return Agreement(_rows(feed), max(one.size, other.size), float("inf"))
        if one.dtype.kind == "f":
            gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
            gap /= np.maximum(1.0, np.abs(one))
            gap[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
            if gap.size:
                difference = max(difference, float(np.nan_to_num(gap, nan=np.inf).max()))
        else:
            labels += int((one != other).sum())
    return Agreement(_rows(feed), labels, difference)


def _rows(feed: Feed) -> int:
    return len(next(iter(feed.values())))


def _array(output: Any) -> NDArray[Any]:
    """An output as an array; a list of maps (ZipMap) as a matrix, a column a class."""
    if isinstance(output, list) and output and isinstance(output[0], dict):
        return np.array([list(row.values()) for row in output], dtype=np.float32)
    return np.asarray(output)
