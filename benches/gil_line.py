"""From which cost on should a prediction let other Python threads run meanwhile?

The module lets go of the interpreter lock when a call is expected to take longer than
`DETACH_ABOVE_NS` (bindings/python/src/gil.rs). To measure where that line belongs, build the module
in release mode once with 0 (always lets go) and once with `u64::MAX - 1` (never does), and run

    python benches/gil_line.py --output always.json
    python benches/gil_line.py --output never.json
    python benches/gil_line.py always.json never.json       # the table

For calls of rising cost (one network, more and more rows) it takes the median time of a call by one
thread, the calls a second of four threads together, and those of four threads beside a fifth that
runs Python without end.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import threading
import time
from collections.abc import Callable

import numpy as np

import modelserve as ms

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROWS = (1, 4, 16, 32, 64, 128, 256, 512, 1024)
THREADS = 4


def latency(call: Callable[[], object], seconds: float) -> float:
    """The median time of a call in µs."""
    times = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        call()
        times.append(clock() - start)
    return statistics.median(times) / 1e3


def throughput(call: Callable[[], object], seconds: float, busy: bool) -> tuple[float, float]:
    """Calls a second of all threads, and loops a second of a thread of pure Python."""
    counts = [0] * THREADS
    loops = 0
    done = threading.Event()

    def ask(k: int) -> None:
        while not done.is_set():
            call()
            counts[k] += 1

    def compute() -> None:
        nonlocal loops
        while not done.is_set():
            sum(range(100))
            loops += 1

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(THREADS)]
    if busy:
        threads.append(threading.Thread(target=compute))
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    done.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return sum(counts) / took, loops / took


def measure(seconds: float, rounds: int) -> list[dict[str, float]]:
    folder = ROOT / "tests" / "data" / "mlp"
    sample = np.array(json.loads((folder / "expected.json").read_text())["rows"], np.float32)
    model = ms.load(folder / "model.onnx", threads=1)
    figures = []
    for rows in ROWS:
        batch = np.resize(sample, (rows, sample.shape[1]))

        def call(batch: np.ndarray = batch) -> object:
            return model.predict_batch(batch)

        turns = [
            (
                latency(call, seconds),
                throughput(call, seconds, False)[0],
                *throughput(call, seconds, True),
            )
            for _ in range(rounds)
        ]
        one, many, beside, loops = (
            statistics.median(column) for column in zip(*turns, strict=True)
        )
        figures.append(
            {"rows": rows, "one_us": one, "many": many, "beside": beside, "loops": loops}
        )
        print(figures[-1], flush=True)
    return figures


def table(always: list[dict[str, float]], never: list[dict[str, float]]) -> str:
    lines = [
        "| rows | one thread, µs: never / always | 4 threads, calls/s: never / always | gain | "
        "beside Python, calls/s: never / always | gain |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for a, n in zip(always, never, strict=True):
        lines.append(
            f"| {a['rows']:,} | {n['one_us']:.2f} / {a['one_us']:.2f} "
            f"| {n['many']:,.0f} / {a['many']:,.0f} | {a['many'] / n['many']:.2f} "
            f"| {n['beside']:,.0f} / {a['beside']:,.0f} | {a['beside'] / n['beside']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("compared", nargs="*", type=pathlib.Path, help="always.json never.json")
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.compared:
        always, never = (json.loads(path.read_text()) for path in arguments.compared)
        print(table(always, never))
        return
    figures = measure(arguments.seconds, arguments.rounds)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
