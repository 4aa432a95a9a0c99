"""One table of the errors: Python's classes, C's codes, HTTP's statuses, from where they stand."""

from __future__ import annotations

import re
from pathlib import Path

from modelserve import errors

CODE = re.compile(r"ErrorKind::(\w+) => (\d+),")
STATUS = re.compile(r'ErrorKind::(\w+) => column\((\d+), "(\w+)", (\d+), (\d+)\)')


def table(root: Path) -> str:
    """A table of every kind of error."""
    source = (root / "src" / "error.rs").read_text()
    codes = dict(CODE.findall(source))
    statuses = {name: rest for name, *rest in STATUS.findall(source)}
    if set(codes) != set(statuses) or set(codes) != set(errors.BY_KIND):
        raise ValueError(f"src/error.rs and errors.py name other kinds: {codes}, {statuses}")
    rows = [
        "| kind | Python | also a | C | `/predict` | `/v1` | `/v2` | when |",
        "|---|---|---|---:|---:|---|---:|---|",
    ]
    for name, code in codes.items():
        cls = errors.BY_KIND[name]
        also = next(base for base in cls.__bases__ if base is not errors.ModelServeError)
        plain, v1_code, v1, v2 = statuses[name]
        meaning = " ".join((cls.__doc__ or "").split())
        rows.append(
            f"| {name} | `{cls.__name__}` | `{also.__name__}` | {code} "
            f"| {plain} | {v1} {v1_code} | {v2} | {meaning} |"
        )
    return "\n".join(rows)
