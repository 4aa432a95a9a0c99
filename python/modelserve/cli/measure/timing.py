"""Latency and throughput, of several runners in turn: what disturbs one disturbs the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: Calls of one runner before the next one's turn; fewer where they take longer than `_BLOCK_NS`.
_BLOCK = 50
_BLOCK_NS = 20_000_000
#: Turns of each runner in a measurement of throughput.
_TURNS = 3


@dataclass(frozen=True)
class Latency:
    """Seconds of a call."""

    p50: float
    p90: float
    p99: float
    calls: int


@dataclass(frozen=True)
class Throughput:
    """Rows a second, of each runner by name, where so many threads ask so many rows at once."""

    threads: int
    batch_size: int
    rows_per_second: dict[str, float]


def latency(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, Latency]:
    """Times single calls from one thread, `seconds` of each."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    clock = time.perf_counter_ns
    for call in calls.values():
        began = clock()
        for _ in range(_BLOCK):
            call()
            if clock() - began > _BLOCK_NS:
                break
    end = clock() + int(seconds * len(calls) * 1e9)
    while clock() < end:
        for name, call in calls.items():
            kept, turn = times[name], clock()
            for _ in range(_BLOCK):
                began = clock()
                call()
                done = clock()
                kept.append(done - began)
                if done - turn > _BLOCK_NS:
                    break
    return {name: _percentiles(kept) for name, kept in times.items() if kept}


def _percentiles(nanoseconds: Sequence[int]) -> Latency:
    p50, p90, p99 = np.percentile(np.asarray(nanoseconds) / 1e9, (50, 90, 99)).tolist()
    return Latency(p50, p90, p99, len(nanoseconds))


def throughput(
    calls: dict[str, Callable[[], object]], *, threads: int, batch_size: int, seconds: float
) -> Throughput:
    """Counts the rows that `threads` threads are answered, in turns of each runner."""
    rows = dict.fromkeys(calls, 0)
    took = dict.fromkeys(calls, 0.0)
    for call in calls.values():
        call()
    for _ in range(_TURNS):
        for name, call in calls.items():
            began = time.perf_counter()
            rows[name] += batch_size * _asked(call, threads, seconds / _TURNS)
            took[name] += time.perf_counter() - began
    return Throughput(threads, batch_size, {name: rows[name] / took[name] for name in calls})


def _asked(call: Callable[[], object], threads: int, seconds: float) -> int:
    """How many calls were answered."""
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def ask(k: int) -> None:
        while time.perf_counter() < end:
            call()
            counts[k] += 1

    if threads == 1:
        ask(0)
    else:
        started = [threading.Thread(target=ask, args=(k,)) for k in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return sum(counts)
