"""Which format a file has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from ..output import CommandError
from .csv_rows import CsvRows
from .json_rows import JsonRows
from .npy_rows import NpyRows
from .parquet_rows import ParquetRows
from .rows import Rows
from .sniffing import sniffed

#: The formats by the end of a file's name.
_BY_SUFFIX = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
}

#: The formats by name.
FORMATS = ("csv", "json", "jsonl", "parquet", "npy")


def format_of(path: str) -> str:
    """The format that a file's name tells; `CommandError` when it tells none."""
    suffix = Path(path).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise CommandError(
            f"{path}: the format of '{suffix or path}' is unknown; known are "
            f"{', '.join(_BY_SUFFIX)}; or say it with an option (--help)"
        )
    return _BY_SUFFIX[suffix]


def open_rows(path: str, kind: str | None = None) -> Rows:
    """Opens a file of rows, or standard input for `-`, in a format of `FORMATS`."""
    if path == "-":
        stdin: IO[bytes] = sys.stdin.buffer
        if kind is None:
            kind, stdin = sniffed(stdin)
        return _text_rows(stdin, "standard input", None, kind)
    kind = kind or format_of(path)
    if kind == "parquet":
        # Arrow's own message for a file that is not there is long; `open` says it in three words.
        open(path, "rb").close()
        return ParquetRows(path)
    if kind == "npy":
        return NpyRows(path)
    # Closed with the process: a command reads one or two files and ends.
    file = open(path, "rb")  # noqa: SIM115
    total = Path(path).stat().st_size if Path(path).is_file() else None
    return _text_rows(file, path, total, kind)


def _text_rows(file: IO[bytes], source: str, total: int | None, kind: str) -> Rows:
    if kind == "csv":
        return CsvRows(file, source, total)
    if kind in ("json", "jsonl"):
        return JsonRows(file, source, total, lines=kind == "jsonl")
    raise CommandError(f"{source}: {kind} is not read from a pipe; name a file")
