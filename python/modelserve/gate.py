"""What a new version has to show before it serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a new version has to show before it serves: `reload(..., gate=Gate(...))`."""

    #: Requests with the answers that the new version must give: dicts as the lines of a
    #: golden.jsonl (`{"row": [...], "prediction": 0}`), or the path of such a file.
    golden: Iterable[Mapping[str, Any]] | str | PathLike[str] = ()
    #: How many recent requests to ask both versions.
    replay_last: int = 256
    #: The largest relative difference of a number from the serving version's; None allows any.
    max_drift: float | None = None
    #: The share of replayed rows that may be answered differently; None allows any.
    max_disagreement: float | None = None
    #: How many times as long the new version may take at the median; None allows any.
    max_latency_ratio: float | None = None
    #: How far numbers may be apart, relative to the larger one, and still count as the same;
    #: None means 0.02.
    tolerance: float | None = None

    def __post_init__(self) -> None:
        # A generator would be empty at its second use.
        if not isinstance(self.golden, str | PathLike):
            object.__setattr__(self, "golden", tuple(self.golden))

    def golden_text(self) -> bytes:
        """The golden requests as lines of JSON."""
        if isinstance(self.golden, str | PathLike):
            return Path(self.golden).read_bytes()
        lines = (json.dumps(dict(request), default=_plain) for request in self.golden)
        return "\n".join(lines).encode()


def _plain(value: Any) -> Any:
    """NumPy's arrays and numbers as JSON has them."""
    try:
        return value.tolist()
    except AttributeError:
        raise TypeError(f"a golden request holds a {type(value).__name__}") from None
