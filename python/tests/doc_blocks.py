"""The code blocks of the documents, as their pages write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^`]*)$")
MARK = re.compile(r"^ *<!-- (?P<what>not run|output|server)(?:: (?P<words>.+?))? -->$")
TITLE = re.compile(r'title="([^"]+)"')


@dataclass
class Block:
    """One fenced block."""

    #: The language: the first word behind the fence.
    language: str
    #: What stands in it.
    text: str
    #: The line of the page that its first line is.
    line: int
    #: The name of the file that the page shows, where it says one.
    title: str | None = None
    #: What the comment above it says: not run (with the reason), output, or server.
    marks: dict[str, str] = field(default_factory=dict)


def pages() -> list[str]:
    """The pages that have blocks, by their paths in the repository."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(p.relative_to(ROOT)) for p in paths if blocks(p)]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order. A block that nobody closes is an error."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    fence = indent = ""
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence:
            if line.strip() == fence:
                found[-1].text = "\n".join(lines) + "\n"
                fence = ""
            else:
                lines.append(line.removeprefix(indent))
        elif opened := FENCE.match(line):
            fence, indent, lines = opened["fence"], opened["indent"], []
            language = re.split(r"[ ,{]", opened["info"].strip(), maxsplit=1)[0]
            title = TITLE.search(opened["info"])
            found.append(Block(language, "", number + 1, title[1] if title else None, marks))
            marks = {}
        elif mark := MARK.match(line):
            marks[mark["what"]] = mark["words"] or ""
        elif line.strip():
            marks = {}
    if fence:
        raise ValueError(f"{page}: the block that begins at line {found[-1].line} has no end")
    return found
