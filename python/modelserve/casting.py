"""Values to the type that a model takes, without changing what they say.

NumPy's own casts turn 2.7 into 2, 3e9 into some negative number, and NaN into whatever the machine
makes of it; a model that answers for such a row answers for another one.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError


def cast(array: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """The array as `dtype`, which is a type of numbers, bool, or object for texts.

    Whole numbers may come as any type of numbers that holds them exactly. Numbers for floating
    point are rounded to it, and what is missing (None) is NaN there.

    Raises `InvalidInputError` naming `what` (as "input 'x'"), the type and the first value that it
    does not hold: a fraction or NaN for an integer, what is out of range, a text for a number, a
    number for a text.
    """
    if not array.size:
        return np.empty(array.shape, dtype)
    if dtype.kind == "O":
        return _texts(array, what)
    if array.dtype.kind == "O":
        array = _numbers(array, dtype, what)
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "buif":
        raise _refused(array.ravel(), dtype, what)
    if dtype.kind == "f":
        return _rounded(array, dtype, what)
    low, high = (0, 1) if dtype.kind == "b" else _range(dtype)
    if array.dtype.kind == "f":
        # One above the range is a power of two, which every type compares exactly.
        holds = (array >= np.float64(low)) & (array < np.float64(high + 1))
        holds &= array == np.floor(array)
        if not holds.all():
            raise _refused(array[~holds], dtype, what)
    elif not low <= int(array.min()) <= int(array.max()) <= high:
        outside = (value for value in array.flat if not low <= int(value) <= high)
        raise _refused(outside, dtype, what)
    return array.astype(dtype)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _rounded(array: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        found = array.astype(dtype)
    beyond = np.isinf(found)
    if array.dtype.kind == "f":
        beyond &= ~np.isinf(array)
    if beyond.any():
        raise _refused(array[beyond], dtype, what)
    return found


def _texts(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind in "US":
        return array.astype(object)
    for value in array.flat:
        if not isinstance(value, str | bytes):
            raise _refused([value], np.dtype(object), what)
    return array


def _numbers(array: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """An array of Python's numbers as one of NumPy's."""
    whole = dtype.kind != "f"
    found = np.empty(array.size, dtype if whole else np.float64)
    low, high = _range(dtype) if dtype.kind in "iu" else (0, 1)
    for at, given in enumerate(array.flat):
        value = given.item() if isinstance(given, np.generic) else given
        try:
            if whole:
                number = int(value) if isinstance(value, int | float | Decimal) else None
                if number is None or number != value or not low <= number <= high:
                    raise ValueError
                found[at] = number
            elif value is None:
                found[at] = np.nan
            elif isinstance(value, int | float | Decimal):
                found[at] = float(value)
            else:
                raise ValueError
        except (ValueError, OverflowError) as e:
            raise _refused([value], dtype, what) from e
    return found.reshape(array.shape)


def _refused(values: Iterable[Any], dtype: np.dtype[Any], what: str) -> InvalidInputError:
    first = next(iter(values), None)
    if isinstance(first, np.generic):
        first = first.item()
    name = "str" if dtype.kind == "O" else dtype.name
    return InvalidInputError(f"{what} takes {name}, which cannot hold {reprlib.repr(first)}")
