"""What is asked again, when, and for how long altogether."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..errors import InvalidArgumentError

#: Longer deadlines are not for a request, and more than operating systems count (eleven days).
_MOST_SECONDS = 1_000_000.0

#: Answers of servers that did not run the request (429, 503), and of proxies that got no answer
#: from the server behind them (502): it may have begun to run it.
RETRIED_STATUSES = frozenset({429, 502, 503})


@dataclass(frozen=True)
class Retry:
    """How often and how soon a request is tried again.

    Tried again are connections that could not be made, and answers 429, 502 and 503. A server that
    answers 429 or 503 has not run the model. A proxy answers 502 (some 503) also where a server
    behind it died of the request: the model may have run, and runs once more. A request that was
    sent and got no answer at all is not sent again. The n-th wait is a random
    part of `first * 2**(n-1)` seconds, at most `most`; where the answer has `Retry-After`, that
    long, however long: what does not fit into the deadline is not waited for.
    """

    #: Tries altogether; 1 tries nothing again.
    attempts: int = 3
    #: The longest first wait, in seconds.
    first: float = 0.05
    #: The longest wait without `Retry-After`, in seconds.
    most: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidArgumentError(f"attempts = {self.attempts}: expected 1 or more")
        if not 0 <= self.first <= self.most:
            raise InvalidArgumentError(
                f"first = {self.first}, most = {self.most}: expected 0 <= first <= most"
            )

    def wait(self, failed: int, headers: Mapping[str, str]) -> float:
        """Seconds to wait after `failed` tries, the last of which answered with `headers`."""
        asked = _retry_after(headers.get("retry-after"))
        if asked is not None:
            return asked
        longest = min(self.most, self.first * 2.0 ** min(failed - 1, 60))
        return random.uniform(0, longest)


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of them or a date; None for what is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


class Deadline:
    """One budget of time for all tries and waits of a request."""

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds <= _MOST_SECONDS:
            raise InvalidArgumentError(
                f"timeout = {seconds}: expected more than 0 seconds, at most {_MOST_SECONDS:.0f}"
            )
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())
