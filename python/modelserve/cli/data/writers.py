"""Answers written as they come, in the formats that rows are read from."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..output import CommandError, plain
from .answers import shortest
from .parquet_writer import ParquetWriter
from .targets import target_file

Table = Mapping[str, NDArray[Any]]


class Writer(Protocol):
    """Writes batches of columns; all have the same names."""

    def write(self, table: Table) -> None:
        """Writes some rows."""

    def close(self) -> None:
        """Writes what is left."""


class CsvWriter:
    """A header, then a row a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begun = False

    def write(self, table: Table) -> None:
        """Writes some rows."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not self._begun:
            rows.writerow(table)
            self._begun = True
        rows.writerows(zip(*(_blanked(shortest(c)) for c in table.values()), strict=True))
        self._file.write(text.getvalue().encode())

    def close(self) -> None:
        """Has nothing left to write."""


class JsonWriter:
    """An object a row: one a line, or as one list."""

    def __init__(self, file: IO[bytes], *, lines: bool) -> None:
        self._file, self._lines = file, lines
        self._begun = False

    def write(self, table: Table) -> None:
        """Writes some rows."""
        names = list(table)
        for values in zip(*(shortest(c) for c in table.values()), strict=True):
            row = json.dumps(plain(dict(zip(names, values, strict=True))), ensure_ascii=False)
            before = "" if self._lines else ",\n" if self._begun else "[\n"
            self._file.write((before + row + ("\n" if self._lines else "")).encode())
            self._begun = True

    def close(self) -> None:
        """Ends the list."""
        if not self._lines:
            self._file.write(b"\n]\n" if self._begun else b"[]\n")


class NpyWriter:
    """One matrix, a column each in order; kept in memory until the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts: list[NDArray[Any]] = []

    def write(self, table: Table) -> None:
        """Keeps some rows."""
        for name, column in table.items():
            if column.dtype.kind not in "biuf":
                raise CommandError(
                    f"a NumPy file holds numbers, and '{name}' has text or nulls; choose another "
                    "format"
                )
        part = np.column_stack(list(table.values()))
        for name, column in table.items():
            if part.dtype.kind == "f" and column.dtype.kind in "iu" and _beyond_floats(column):
                raise CommandError(
                    f"a NumPy file has one type, and '{name}' has whole numbers that a float does "
                    "not hold; choose another format"
                )
        self._parts.append(part)

    def close(self) -> None:
        """Writes the array."""
        np.save(self._file, np.concatenate(self._parts) if self._parts else np.empty((0, 0)))


def _beyond_floats(column: NDArray[Any]) -> bool:
    return bool(((column > 2**53) | (column < -(2**53))).any())


def _blanked(values: list[Any]) -> list[Any]:
    return ["" if value is None else value for value in values]


def _writer(file: IO[bytes], kind: str) -> Writer:
    if kind == "csv":
        return CsvWriter(file)
    if kind == "parquet":
        return ParquetWriter(file)
    if kind == "npy":
        return NpyWriter(file)
    return JsonWriter(file, lines=kind == "jsonl")


@contextmanager
def writing(path: str | None, kind: str) -> Iterator[Writer]:
    """A writer to a file, or to standard output for None.

    The file appears when it is complete: an error leaves what was there before.
    """
    if path is None:
        if kind in ("parquet", "npy"):
            raise CommandError(f"{kind} is not for a terminal or a pipe; name a file with -o")
        writer = _writer(sys.stdout.buffer, kind)
        yield writer
        writer.close()
        sys.stdout.buffer.flush()
        return
    with target_file(path, seekable=kind in ("parquet", "npy")) as file:
        writer = _writer(file, kind)
        try:
            yield writer
            writer.close()
        except BaseException:
            if isinstance(writer, ParquetWriter):
                writer.abandon()
            raise
