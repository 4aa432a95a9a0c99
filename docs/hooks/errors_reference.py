"""The errors in tables: Python's classes, C's codes, HTTP's statuses, from where they stand."""

from __future__ import annotations

import re
from pathlib import Path

from modelserve import errors

CODE = re.compile(r"ErrorKind::(\w+) => (\d+),")
STATUS = re.compile(r'ErrorKind::(\w+) => column\((\d+), "(\w+)", (\d+), (\d+)\)')


def kinds(root: Path) -> str:
    """A table of every kind of error and its exception in Python."""
    rows = ["| kind | Python | also a | when |", "|---|---|---|---|"]
    for name in _codes(root):
        cls = errors.BY_KIND[name]
        also = next(base for base in cls.__bases__ if base is not errors.ModelServeError)
        meaning = " ".join((cls.__doc__ or "").split())
        rows.append(f"| {name} | `{cls.__name__}` | `{also.__name__}` | {meaning} |")
    return "\n".join(rows)


def codes(root: Path) -> str:
    """A table of every kind of error, its code in C and its statuses in HTTP."""
    statuses = {name: rest for name, *rest in STATUS.findall(_source(root))}
    rows = ["| kind | C | `/predict` | `/v1` | `/v2` |", "|---|---:|---:|---|---:|"]
    for name, code in _codes(root).items():
        plain, v1_code, v1, v2 = statuses[name]
        rows.append(f"| {name} | {code} | {plain} | {v1} {v1_code} | {v2} |")
    return "\n".join(rows)


def _source(root: Path) -> str:
    return (root / "src" / "error.rs").read_text()


def _codes(root: Path) -> dict[str, str]:
    found = dict(CODE.findall(_source(root)))
    if set(found) != set(errors.BY_KIND):
        raise ValueError(f"src/error.rs and errors.py name other kinds: {sorted(found)}")
    return found
