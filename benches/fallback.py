"""What a caller waits for a model that is too slow: without a deadline, with one, with a fallback.

    python benches/fallback.py [--requests 300] [--deadline-ms 5] [--output FILE]

The model is the transformer of examples/data. One request is a row, which is answered in time; the
other has as many rows as take about ten times the deadline. The set-ups take turns within one run.

Build the module in release mode first (`make bench` does).
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import statistics
import time
from collections import Counter

import numpy as np

import modelserve as ms
from modelserve.policies import Policies

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples" / "data" / "models" / "transformer" / "model.onnx"
ROUNDS = 10


def percentile(times: list[float], q: float) -> float:
    return sorted(times)[min(int(q * len(times)), len(times) - 1)]


def set_ups(deadline_ms: float) -> dict[str, Policies]:
    deadline: Policies = {"deadline": {"default": deadline_ms / 1e3}}
    return {
        "none": {},
        "deadline": deadline,
        "deadline, fallback": {**deadline, "fallback": [{"constant": {"label": 0}}]},
    }


def ask(manager: ms.ModelManager, rows: np.ndarray, count: int) -> tuple[list[float], Counter[str]]:
    """Times in ms, and who answered how often."""
    times, answered = [], Counter[str]()
    for _ in range(count):
        began = time.perf_counter()
        try:
            answered[manager.predict_batch("text", rows).receipt.route] += 1
        except ms.ModelServeError as error:
            answered[error.kind] += 1
        times.append((time.perf_counter() - began) * 1e3)
        # A run that was left behind is not in the next one's way.
        time.sleep(0.002)
    return times, answered


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--deadline-ms", type=float, default=5.0)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()

    manager = ms.ModelManager()
    manager.load("text", MODEL)
    rng = np.random.default_rng(0)
    few = rng.integers(0, 50, (1, 32))
    one = min(ask(manager, few, 50)[0])
    many = rng.integers(0, 50, (int(10 * arguments.deadline_ms / one) + 1, 32))
    alone = statistics.median(ask(manager, many, 5)[0])

    asked = {"in time": few, "too slow": many}
    policies = set_ups(arguments.deadline_ms)
    times: dict[tuple[str, str], list[float]] = {(n, w): [] for n in policies for w in asked}
    answered: dict[tuple[str, str], Counter[str]] = {key: Counter() for key in times}
    for _ in range(ROUNDS):
        for name, what in times:
            manager.configure("text", **policies[name])
            took, by = ask(manager, asked[what], arguments.requests // ROUNDS)
            times[name, what] += took
            answered[name, what] += by

    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, deadline {arguments.deadline_ms:g} ms; "
        f"{len(many)} rows take {alone:.0f} ms",
        "",
        "| set-up | request | p50, ms | p99, ms | answered by |",
        "|---|---|---:|---:|---|",
    ]
    for (name, what), took in times.items():
        p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
        by_whom = ", ".join(f"{who} {n}" for who, n in answered[name, what].most_common())
        lines.append(f"| {name} | {what} | {p50:.2f} | {p99:.2f} | {by_whom} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
