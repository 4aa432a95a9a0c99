"""Rows that a sample rarely has, made of it: on thresholds and beside them, missing, infinite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .native import Native, Thresholds
from .samples import is_frame

#: Numbers in one batch of such rows.
_CELLS = 1 << 20
#: Rows in one batch.
_ROWS = 6000
#: Features that get missing and odd values.
_FEATURES = 48
_ODD = (np.inf, -np.inf, -1.0, 0.5, 300.0, 1e9, -0.0)


def corners(
    sample: Any, native: Native | None, thresholds: Thresholds
) -> Iterator[tuple[str, Any]]:
    """Batches of rows with what they are; an estimator may refuse one.

    Each row is one of the sample with one feature changed. ``native`` is the estimator where it is
    one operator, and ``thresholds`` are those of the trees in it.
    """
    numeric = _numeric(sample, native)
    width = sample.shape[1]
    most = int(max(16, min(_ROWS, _CELLS // max(1, width))))
    some = numeric[: min(_FEATURES, most // 8)]
    if not len(some):
        return
    features, values = _at_thresholds(thresholds, numeric, most)
    if len(features):
        yield "rows on thresholds", _changed(sample, numeric, features, values)
    if native is not None:
        for value in native.missing:
            rows = _changed(sample, numeric, some, np.full(len(some), value))
            yield f"rows with {value} for missing values", rows
    # Far values are for trees: sums in float32 lose all else beside them.
    for value in (np.nan, *(_ODD if native is not None else ())):
        rows = _changed(sample, numeric, some, np.full(len(some), value))
        yield f"rows with {value}", rows
    yield "a row of missing values", _missing(sample, numeric)


def _numeric(sample: Any, native: Native | None) -> NDArray[np.int64]:
    """Features that take any number."""
    if not is_frame(sample):
        every = list(range(sample.shape[1]))
    elif native is not None:
        every = [i for i in range(sample.shape[1]) if i not in native.categories]
    else:
        every = [i for i, t in enumerate(sample.dtypes) if getattr(t, "kind", "O") == "f"]
    return np.array(every, np.int64)


def _at_thresholds(
    known: Thresholds, numeric: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each threshold, and the numbers beside it in float64 and in float32."""
    keep = np.isfinite(known.values) & np.isin(known.features, numeric)
    pairs = np.unique(np.stack([known.features[keep], known.values[keep]], axis=1), axis=0)
    if len(pairs) * 5 > most:
        pairs = pairs[np.linspace(0, len(pairs) - 1, max(1, most // 5)).astype(np.int64)]
    t = pairs[:, 1]
    with np.errstate(over="ignore"):
        short = t.astype(np.float32)
        near = [
            t,
            np.nextafter(t, np.inf),
            np.nextafter(t, -np.inf),
            np.nextafter(short, np.float32(np.inf)).astype(np.float64),
            np.nextafter(short, np.float32(-np.inf)).astype(np.float64),
        ]
    values = np.concatenate(near)
    features = np.tile(pairs[:, 0].astype(np.int64), len(near))
    kept = np.isfinite(values)
    return features[kept], values[kept]


def _take(sample: Any, numeric: NDArray[np.int64], count: int) -> Any:
    """So many rows of the sample, from the first on and again; numbers as doubles."""
    rows = np.arange(count) % len(sample)
    if not is_frame(sample):
        return np.array(sample, np.float64)[rows]
    taken = sample.iloc[rows].reset_index(drop=True)
    return taken.astype(dict.fromkeys(sample.columns[numeric], np.float64))


def _changed(
    sample: Any,
    numeric: NDArray[np.int64],
    features: NDArray[np.int64],
    values: NDArray[np.float64],
) -> Any:
    """Rows of the sample, each with one value at one feature."""
    rows = _take(sample, numeric, len(features))
    if not is_frame(sample):
        rows[np.arange(len(features)), features] = values
        return rows
    for feature in np.unique(features):
        hit = features == feature
        column = rows.iloc[:, int(feature)].to_numpy().copy()
        column[hit] = values[hit]
        rows.isetitem(int(feature), column)
    return rows


def _missing(sample: Any, numeric: NDArray[np.int64]) -> Any:
    """The first row without any of its numbers."""
    rows = _take(sample, numeric, 1)
    if not is_frame(sample):
        rows[:, numeric] = np.nan
        return rows
    for feature in numeric:
        rows.isetitem(int(feature), np.array([np.nan]))
    return rows
