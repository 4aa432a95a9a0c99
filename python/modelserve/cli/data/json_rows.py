"""JSON and JSON lines: rows as lists, or as objects of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from ..output import CommandError
from .rows import Batch


class JsonRows:
    """Rows of a JSON text: one a line, or a list of them, or an object that has such a list as
    `instances` or `rows`. JSON lines are read as they come, other JSON is read whole.
    """

    def __init__(self, file: IO[bytes], source: str, total: int | None, *, lines: bool) -> None:
        self.source, self.total, self.done = source, total, 0
        self._lines = lines
        self._rows = self._each_line(file) if lines else self._whole(file)
        first = next(self._rows, None)
        if first is None:
            raise CommandError(f"{source} has no rows")
        row, place = first
        if isinstance(row, dict):
            self.names: list[str] | None = [str(name) for name in row]
        elif isinstance(row, list):
            self.names = None
        else:
            raise self._wrong(place, f"expected a list or an object, got {_kind(row)}")
        self.width = len(row)
        self._rows = chain([first], self._rows)

    def _wrong(self, place: int, what: str) -> CommandError:
        unit = "line" if self._lines else "row"
        return CommandError(f"{self.source}, {unit} {place}: {what}")

    def _each_line(self, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
        for number, line in enumerate(file, 1):
            self.done += len(line)
            if line.strip():
                try:
                    yield json.loads(line), number
                except (ValueError, RecursionError) as error:
                    raise self._wrong(number, f"not sound JSON: {error}") from None

    def _whole(self, file: IO[bytes]) -> Iterator[tuple[Any, int]]:
        try:
            rows = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{self.source}: not sound JSON: {error}") from None
        if isinstance(rows, dict):
            rows = rows.get("instances", rows.get("rows"))
        if not isinstance(rows, list):
            raise CommandError(
                f"{self.source}: expected a list of rows, or an object that has one as "
                "'instances' or 'rows'"
            )
        self.total = len(rows)
        for number, row in enumerate(rows, 1):
            self.done = number
            yield row, number

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, at most `size` at once."""
        first = 0
        rows: list[list[Any]] = []
        places: list[int] = []
        for row, place in self._rows:
            rows.append(self._cells(row, place))
            places.append(place)
            if len(rows) == size:
                yield self._batch(rows, first, places)
                first += len(rows)
                rows, places = [], []
        if rows:
            yield self._batch(rows, first, places)

    def _batch(self, rows: list[list[Any]], first: int, places: list[int]) -> Batch:
        columns = list(zip(*rows, strict=True))
        return Batch(columns, len(rows), first, places if self._lines else None)

    def _cells(self, row: Any, place: int) -> list[Any]:
        if self.names is None:
            if not isinstance(row, list):
                raise self._wrong(place, f"expected a list as in the first row, got {_kind(row)}")
            if len(row) != self.width:
                raise self._wrong(place, f"expected {self.width} values, got {len(row)}")
            return row
        if not isinstance(row, dict):
            raise self._wrong(place, f"expected an object as in the first row, got {_kind(row)}")
        try:
            return [row[name] for name in self.names]
        except KeyError as error:
            raise self._wrong(place, f"column {error} is missing") from None


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else kinds.get(type(value), "a number")
