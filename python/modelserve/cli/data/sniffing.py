"""The format of what comes through a pipe."""

from __future__ import annotations

import io
from typing import IO, Any

#: Most bytes that are looked at.
_MOST = 1 << 16
#: The keys that a JSON object of all rows begins with.
_WHOLE = (b'"instances"', b'"rows"')


class _Again(io.RawIOBase):
    """What was read already, and then the rest."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        part = self._head[: len(view)] or _some(self._rest, len(view))
        self._head = self._head[len(part) :]
        view[: len(part)] = part
        return len(part)


def _some(file: IO[bytes], most: int) -> bytes:
    """What is there, without waiting for more; nothing at the end."""
    part: bytes = file.read1(most)  # type: ignore[attr-defined]
    return part


def sniffed(file: IO[bytes]) -> tuple[str, IO[bytes]]:
    """CSV, JSON or JSON lines, as the first bytes tell; and a file that begins with them.

    A pipe may bring them one by one: as many are waited for as it takes.
    """
    head, kind = b"", None
    while kind is None:
        part = _some(file, _MOST)
        head += part
        kind = _kind(head, final=not part or len(head) >= _MOST)
    return kind, io.BufferedReader(_Again(head, file))


def _kind(head: bytes, *, final: bool) -> str | None:
    """None where more has to be seen."""
    text = head.lstrip()
    within = text[1:].lstrip()
    if text.startswith(b"["):
        # A list of rows begins with a row; a row begins with a value.
        kind = "json" if within.startswith((b"[", b"{")) else "jsonl"
        return kind if within or final else None
    if text.startswith(b"{"):
        if within.startswith(_WHOLE):
            return "json"
        open_still = any(key.startswith(within) for key in _WHOLE)
        return None if open_still and not final else "jsonl"
    return "csv" if text or final else None
