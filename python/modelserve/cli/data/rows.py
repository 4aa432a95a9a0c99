"""What every format is read into: batches of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Some rows of a file, column by column."""

    #: A column each: text as it stands in the file, Python values (None where one is missing), or
    #: an array without gaps.
    columns: Sequence[Sequence[Any] | NDArray[Any]]
    #: How many rows these are.
    rows: int
    #: How many rows of the file come before.
    first: int
    #: The line of the file on which each row ends, where it has lines.
    lines: Sequence[int] | None = None

    def where(self, row: int) -> str:
        """The place of a row of this batch, for error messages; rows are counted from 1."""
        if self.lines is not None:
            return f"line {self.lines[row]}"
        return f"row {self.first + row + 1}"


class Rows(Protocol):
    """A file of rows."""

    #: What it is called in messages.
    source: str
    #: The names of the columns; None where the file has none.
    names: list[str] | None
    #: How many columns a row has.
    width: int
    #: What `done` will have reached at the end; None where that is not known.
    total: int | None
    #: How far reading is, in the unit of `total`.
    done: int

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, at most `size` at once, once; one batch without rows where there are none."""
