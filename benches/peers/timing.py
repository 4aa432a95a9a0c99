"""Times engines in turns, in one process, with the garbage collector off."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from engine import Prepared

#: What one figure of a round takes at least: reading the clock is nothing beside it.
SLICE_NS = 1_000_000
#: Single calls for the p99, over all rounds, of calls that are cheap enough.
SINGLES = 3000
#: Most calls of one figure.
MOST_CALLS = 20_000
#: Threads that wait by spinning after their work are given this long to stop: OpenBLAS's spin for
#: 2^26 cycles.
SETTLE_S = 0.05


@dataclass
class Timing:
    """Times of one engine, in µs a call."""

    #: One figure a round: the mean of that round's calls.
    rounds: list[float] = field(default_factory=list)
    #: Calls that were timed one by one.
    singles: list[float] = field(default_factory=list, repr=False)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def p99(self) -> float:
        """The 99th percentile of single calls; the largest where there are fewer than 100."""
        ordered = sorted(self.singles)
        return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.99) - 1)]

    def raw(self) -> dict[str, Any]:
        """What is kept of it."""
        kept = asdict(self)
        kept["singles"] = len(self.singles)
        kept["rounds"] = [round(value, 4) for value in self.rounds]
        return {"median_us": round(self.median, 4), "p99_us": round(self.p99, 4), **kept}


class Turn:
    """One engine's call with how often it is made in a round."""

    def __init__(self, prepared: Prepared) -> None:
        self.call = prepared.call
        self.items = prepared.items
        self.at = 0
        cost = self._cost()
        self.repeat = min(MOST_CALLS, max(1, math.ceil(SLICE_NS / cost)))

    def _cost(self) -> float:
        """About what a call takes, in ns, after a warm-up of 20 ms or two calls."""
        clock = time.perf_counter_ns
        times: list[int] = []
        end = clock() + 20_000_000
        while clock() < end or len(times) < 2:
            item = self.items[len(times) % len(self.items)]
            start = clock()
            self.call(item)
            times.append(clock() - start)
        return max(1.0, statistics.median(times))

    def sequence(self, count: int) -> list[Any]:
        """The next `count` inputs."""
        size = len(self.items)
        chosen = [self.items[(self.at + i) % size] for i in range(count)]
        self.at = (self.at + count) % size
        return chosen

    def block(self) -> float:
        """µs a call, of `repeat` calls."""
        items, call = self.sequence(self.repeat), self.call
        start = time.perf_counter_ns()
        for item in items:
            call(item)
        return (time.perf_counter_ns() - start) / self.repeat / 1000

    def singles(self, count: int) -> list[float]:
        """µs of single calls."""
        clock, call = time.perf_counter_ns, self.call
        times = []
        for item in self.sequence(count):
            start = clock()
            call(item)
            times.append((clock() - start) / 1000)
        return times


def measure(
    calls: dict[str, Prepared], rounds: int, settle: bool, tell: Callable[[str], None] | None = None
) -> dict[str, Timing]:
    """Times every call in each of the rounds; who begins changes from round to round."""
    turns = {name: Turn(prepared) for name, prepared in calls.items()}
    timings = {name: Timing() for name in calls}
    names = list(calls)
    singles = math.ceil(SINGLES / rounds)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                turn, timing = turns[name], timings[name]
                if settle:
                    time.sleep(SETTLE_S)
                    # The first call after a pause wakes threads and fills caches.
                    turn.call(turn.items[turn.at])
                figure = turn.block()
                timing.rounds.append(figure)
                if turn.repeat == 1:
                    timing.singles.append(figure)
                else:
                    timing.singles.extend(turn.singles(min(singles, turn.repeat)))
            if tell:
                tell(f"round {number + 1} of {rounds}")
    finally:
        if collecting:
            gc.enable()
    return timings
