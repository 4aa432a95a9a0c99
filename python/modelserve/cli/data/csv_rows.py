"""CSV files, read as they come."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO

import numpy as np

from ..output import CommandError
from .rows import Batch

#: Most characters of a cell: a quote that is never closed must not read the whole file as one.
_CELL = 1 << 20
_NUMBER = re.compile(
    r"[+-]?(?:(?P<decimal>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)|nan|inf(?:inity)?)",
    re.ASCII | re.IGNORECASE,
)


class CsvRows:
    """Rows of comma-separated text.

    The first line is a header unless it has a decimal number, and nothing else but such numbers,
    `nan` and `inf`.
    """

    def __init__(self, file: IO[bytes], source: str, total: int | None) -> None:
        self.source, self.total, self.done = source, total, 0
        csv.field_size_limit(_CELL)
        self._reader = csv.reader(self._text(file), strict=True)
        first = self._next()
        if first is None:
            raise CommandError(f"{source} has no rows")
        self.width = len(first)
        header = not _are_numbers(first)
        self.names = [name.strip() for name in first] if header else None
        self._first = None if header else (first, self._reader.line_num)

    def _text(self, file: IO[bytes]) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            self.done += len(line)
            try:
                # A byte order mark is what spreadsheets put in front.
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise CommandError(f"{self.source}, line {number}: the text is not UTF-8") from None

    def _next(self) -> list[str] | None:
        try:
            for row in self._reader:
                if row:
                    return row
        except csv.Error as error:
            line = self._reader.line_num
            raise CommandError(f"{self.source}, line {line}: not sound CSV: {error}") from None
        return None

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, at most `size` at once."""
        first = 0
        rows: list[list[str]] = []
        lines: list[int] = []
        for row, line in chain([self._first] if self._first else [], self._numbered()):
            if len(row) != self.width:
                raise CommandError(
                    f"{self.source}, line {line}: expected {self.width} columns, got {len(row)}"
                )
            rows.append(row)
            lines.append(line)
            if len(rows) == size:
                yield Batch(list(zip(*rows, strict=True)), len(rows), first, lines)
                first += len(rows)
                rows, lines = [], []
        if rows:
            yield Batch(list(zip(*rows, strict=True)), len(rows), first, lines)
        elif not first:
            yield Batch([np.empty(0, "U1")] * self.width, 0, 0, [])

    def _numbered(self) -> Iterator[tuple[list[str], int]]:
        while (row := self._next()) is not None:
            yield row, self._reader.line_num


def _are_numbers(cells: list[str]) -> bool:
    """Whether a first line is a row: columns may be called `nan` and `inf`, but not all of them
    in a file of numbers.
    """
    kinds = [_NUMBER.fullmatch(cell.strip()) for cell in cells]
    return all(kinds) and any(kind["decimal"] for kind in kinds if kind)
