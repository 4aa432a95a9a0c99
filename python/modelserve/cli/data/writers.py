"""Answers written as they come, in the formats that rows are read from."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..output import CommandError, need, plain
from .answers import shortest

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


class ParquetWriter:
    """A row group a batch."""

    def __init__(self, file: IO[bytes]) -> None:
        self._arrow = need("pyarrow", "cli", "writing Parquet")
        self._parquet = need("pyarrow.parquet", "cli", "writing Parquet")
        self._file = file
        self._writer: Any = None

    def write(self, table: Table) -> None:
        """Writes some rows."""
        arrays = {
            n: self._arrow.array(c.tolist() if c.dtype == object else c) for n, c in table.items()
        }
        part = self._arrow.table(arrays)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._file, part.schema)
        self._writer.write_table(part)

    def close(self) -> None:
        """Writes the footer."""
        if self._writer is not None:
            self._writer.close()


class NpyWriter:
    """One matrix, a column each in order; kept in memory until the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts: list[NDArray[Any]] = []

    def write(self, table: Table) -> None:
        """Keeps some rows."""
        for name, column in table.items():
            if column.dtype == object:
                raise CommandError(
                    f"a NumPy file holds numbers, and '{name}' is text; choose another format"
                )
        self._parts.append(np.column_stack(list(table.values())))

    def close(self) -> None:
        """Writes the array."""
        np.save(self._file, np.concatenate(self._parts) if self._parts else np.empty((0, 0)))


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
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            writer = _writer(file, kind)
            yield writer
            writer.close()
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
