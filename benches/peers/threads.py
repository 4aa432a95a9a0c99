"""Eight threads that call one model, beside one thread."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from dataclasses import dataclass
from typing import Any

from engine import Engine, Prepared

CALLERS = 8
#: Seconds of one window.
WINDOW_S = 0.3


@dataclass(frozen=True)
class Work:
    """A call of the table's line on callers."""

    key: str
    form: str
    count: int


#: Below and above the 50 µs that the table speaks of.
WORKS = (
    Work("logistic", "row", 1),
    Work("mlp", "row", 1),
    Work("forest100", "row", 1),
    Work("forest500", "row", 1),
    Work("xgboost", "batch", 32),
    Work("forest100", "batch", 1024),
)


def rate(prepared: Prepared, callers: int, seconds: float) -> float:
    """Calls a second of all callers together."""
    counts = [0] * callers
    elapsed = [0.0] * callers
    gate = threading.Barrier(callers + 1)
    stop = threading.Event()

    def caller(index: int) -> None:
        call, items = prepared.call, prepared.items
        stopped, size, made = stop.is_set, len(items), 0
        gate.wait()
        start = time.perf_counter()
        while not stopped():
            call(items[(index + made) % size])
            made += 1
        elapsed[index] = time.perf_counter() - start
        counts[index] = made

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    gate.wait()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    # A last call may end long after the window: each caller is divided by its own time.
    return sum(made / taken for made, taken in zip(counts, elapsed, strict=True))


def measure(
    engines: list[Engine], work: Work, rounds: int, seconds: float = WINDOW_S
) -> dict[str, dict[str, Any]]:
    """Calls a second with one caller and with eight, in turns, of every engine."""
    calls = {engine.name: engine.prepare(work.form, work.count) for engine in engines}
    turns = [(name, callers) for name in calls for callers in (1, CALLERS)]
    rates: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    for prepared in calls.values():
        rate(prepared, 1, seconds / 3)
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            first = number % len(turns)
            for name, callers in turns[first:] + turns[:first]:
                rates[name, callers].append(rate(calls[name], callers, seconds))
    finally:
        gc.enable()
    return {
        name: {
            "one": statistics.median(rates[name, 1]),
            "eight": statistics.median(rates[name, CALLERS]),
            "rounds one": [round(value, 1) for value in rates[name, 1]],
            "rounds eight": [round(value, 1) for value in rates[name, CALLERS]],
        }
        for name in calls
    }
