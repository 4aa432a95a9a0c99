"""The list of the C interface's functions, from its header."""

from __future__ import annotations

import re
from pathlib import Path

FUNCTION = re.compile(
    r"^/\*\*\n(?P<doc>(?: \*.*\n)+?) \*/\n(?P<declared>[a-z][^;{}#]*?"
    r"\b(?P<name>modelserve_\w+)\([^;{}]*\));",
    re.MULTILINE,
)


def functions(root: Path) -> str:
    """A table of every function with the first sentence of its description."""
    header = (root / "include" / "modelserve.h").read_text()
    rows = ["| function | what it does |", "|---|---|"]
    for found in FUNCTION.finditer(header):
        if found["declared"].startswith("typedef"):
            continue
        rows.append(f"| `{found['name']}` | {_first_sentence(found['doc'])} |")
    return "\n".join(rows)


def _first_sentence(doc: str) -> str:
    lines = (line.removeprefix(" *").strip() for line in doc.splitlines())
    text = " ".join(lines).replace("|", "\\|")
    return re.split(r"(?<=[.:]) (?=[A-Z`])", text, maxsplit=1)[0]
