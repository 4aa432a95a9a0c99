"""Which columns of a file go into which input of a model."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._native import Signature, TensorSpec
from ..output import CommandError
from .rows import Batch, Rows

_RANGE = re.compile(r"(\d+)-(\d+)")


def places(rows: Rows, chosen: str) -> list[int]:
    """The columns that a list like `age,city` or `1-4,7` means: names, or numbers from 1."""
    found: list[int] = []
    for part in (part.strip() for part in chosen.split(",")):
        span = _RANGE.fullmatch(part)
        if rows.names is not None and part in rows.names:
            found.append(_named(rows, part))
        elif part.isdecimal() and 1 <= int(part) <= rows.width:
            found.append(int(part) - 1)
        elif span and 1 <= int(span[1]) <= int(span[2]) <= rows.width:
            found += range(int(span[1]) - 1, int(span[2]))
        else:
            names = f"there are {', '.join(rows.names[:12])}; " if rows.names else ""
            raise CommandError(
                f"{rows.source}: no column '{part}'; {names}numbers are 1 to {rows.width}"
            )
    return found


class Columns:
    """How the columns of a file feed a model: by name where both have names, else by position."""

    def __init__(self, rows: Rows, signature: Signature, chosen: str | None) -> None:
        """`chosen` are the columns to use, as `places` takes them; None finds them.

        `CommandError` says which columns are missing, or too many.
        """
        self._rows = rows
        self._inputs = signature.inputs
        if len(self._inputs) == 1:
            (only,) = self._inputs
            wanted = signature.feature_names
            self._width = _width(only)
        else:
            wanted = [spec.name for spec in self._inputs]
            self._width = len(wanted)
            for spec in self._inputs:
                if _width(spec) not in (1, None):
                    raise CommandError(
                        f"input '{spec.name}' is {spec.type_name}: a model with several inputs is "
                        "fed from columns only where each input is one value a row"
                    )
        self._taken = self._choose(chosen, wanted)
        #: The columns that the model does not use.
        self.unused = [k for k in range(rows.width) if k not in set(self._taken)]

    def _choose(self, chosen: str | None, wanted: list[str] | None) -> list[int]:
        if chosen is not None:
            taken = places(self._rows, chosen)
        elif wanted is not None and self._rows.names is not None:
            missing = [name for name in wanted if name not in self._rows.names]
            if missing:
                raise CommandError(self._missing(missing))
            return [_named(self._rows, name) for name in wanted]
        else:
            taken = list(range(self._rows.width))
        if self._width is not None and len(taken) != self._width:
            names = self._rows.names
            got = f" ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})" if names else ""
            raise CommandError(
                f"{self._rows.source}: expected {self._width} columns, got {len(taken)}{got}; "
                "--columns chooses"
            )
        return taken

    def _missing(self, missing: list[str]) -> str:
        names = self._rows.names or []
        shown = ", ".join(f"'{name}'" for name in missing[:5])
        shown += f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        near = difflib.get_close_matches(missing[0], names, 1)
        got = f"nearest is '{near[0]}'" if near else f"the file has {', '.join(names[:8])}"
        plural = "s" if len(missing) > 1 else ""
        return f"{self._rows.source}: column{plural} {shown} missing, which the model needs; {got}"

    def label(self, column: int) -> str:
        """A column's name, or its number from 1."""
        names = self._rows.names
        return names[column] if names else str(column + 1)

    def take(self, batch: Batch) -> Any:
        """The rows of a batch as `Model.predict_batch` takes them."""
        if len(self._inputs) > 1:
            pairs = zip(self._inputs, self._taken, strict=True)
            return {spec.name: self._cells(batch, k, spec.dtype) for spec, k in pairs}
        (only,) = self._inputs
        columns = [self._cells(batch, k, only.dtype) for k in self._taken]
        shape = only.shape
        if shape is not None and len(shape) == 1:
            return columns[0]
        matrix = np.empty((batch.rows, len(columns)), columns[0].dtype if columns else np.float32)
        for k, column in enumerate(columns):
            matrix[:, k] = column
        if shape is not None and len(shape) > 2:
            return matrix.reshape(batch.rows, *(int(dim) for dim in shape[1:] if dim is not None))
        return matrix

    def _cells(self, batch: Batch, column: int, dtype: str | None) -> NDArray[Any]:
        cells = batch.columns[column]
        if dtype in ("str", "string"):
            if not isinstance(cells, np.ndarray) and None in cells:
                raise self._unfit(batch, list(cells).index(None), column, "a text", "nothing")
            return np.array([str(cell) for cell in cells], dtype=object)
        # Booleans and unknown types go as float32, which the library turns into what it needs.
        target = np.dtype(dtype if dtype and dtype.startswith(("float", "int", "uint")) else "f4")
        floats = target.kind == "f"
        wide: Any = np.float64 if floats else target
        if isinstance(cells, np.ndarray) and cells.dtype.kind in ("fiub" if floats else "iu"):
            array = cells.astype(target)
            # A number that an integer type cannot hold would come out as another one.
            if floats or bool((array == cells).all()):
                return array
        try:
            # NumPy's own loop: many times faster than one over the cells.
            if not isinstance(cells, np.ndarray):
                array = np.array(cells, dtype=wide)
                if array.ndim == 1 and not _cut(cells, floats) and not _beyond_decimal(cells):
                    return array.astype(target)
        except (ValueError, TypeError, OverflowError):
            pass
        numbers = [self._number(batch, row, column, cell, target) for row, cell in enumerate(cells)]
        return np.array(numbers, dtype=wide).astype(target)

    def _number(
        self, batch: Batch, row: int, column: int, cell: Any, target: np.dtype[Any]
    ) -> float | int:
        blank = cell is None or (isinstance(cell, str) and not cell.strip())
        if blank and target.kind == "f":
            return math.nan
        try:
            if isinstance(cell, str) and _beyond_decimal([cell]):
                raise ValueError
            number = float(cell)
            if target.kind == "f":
                return number
            whole = int(number) if number.is_integer() else None
            if not isinstance(cell, float | np.floating) and whole is not None:
                with contextlib.suppress(ValueError):
                    # Exact beyond what a float holds; "3.0" is whole, and no text of an integer.
                    whole = int(cell)
            bounds = np.iinfo(target)
            if whole is not None and bounds.min <= whole <= bounds.max:
                return whole
        except (ValueError, TypeError, OverflowError):
            pass
        kind = "a number" if target.kind == "f" else f"a whole number ({target})"
        raise self._unfit(batch, row, column, kind, "nothing" if blank else repr(cell))

    def _unfit(self, batch: Batch, row: int, column: int, expected: str, got: str) -> CommandError:
        place = f"{self._rows.source}, {batch.where(row)}, column '{self.label(column)}'"
        return CommandError(f"{place}: expected {expected}, got {got}")


def _named(rows: Rows, name: str) -> int:
    """The one column of that name."""
    names = rows.names or []
    if names.count(name) > 1:
        numbers = ", ".join(str(k) for k, one in enumerate(names, 1) if one == name)
        raise CommandError(
            f"{rows.source}: several columns are named '{name}' (numbers {numbers}); choose by "
            "number, or rename them"
        )
    return names.index(name)


def _beyond_decimal(cells: Sequence[Any]) -> bool:
    """Whether there are texts that only Python reads as numbers: `1_000`, other scripts' digits."""
    try:
        # All of a CSV's cells are text, and those of JSON seldom any.
        text = "".join(cells)
    except TypeError:
        if str not in set(map(type, cells)):
            return False
        text = "".join(cell for cell in cells if isinstance(cell, str))
    return "_" in text or not text.isascii()


def _cut(cells: Sequence[Any], floats: bool) -> bool:
    """Whether making integers of the cells cuts off decimals: 2.5 of JSON would become 2."""
    return not floats and any(isinstance(cell, float) for cell in cells)


def _width(spec: TensorSpec) -> int | None:
    """How many values a row has in an input; None where that is open."""
    if spec.shape is None:
        return None
    width = 1
    for dim in spec.shape[1:]:
        if not isinstance(dim, int):
            return None
        width *= dim
    return width
