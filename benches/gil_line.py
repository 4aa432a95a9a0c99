"""From which cost on should a prediction let other Python threads run meanwhile?

    python benches/gil_line.py [--seconds 0.3] [--rounds 7] [--output FILE]

The module lets go of the interpreter lock when a call is expected to take longer than a line
(bindings/python/src/gil.rs). For calls of rising cost (one network, more and more rows) this moves
the line below and above them in turn, several times in one run, and takes the median time of a call
by one thread, the calls a second of four threads together, and those of four threads beside a fifth
that runs Python without end. "always / never" above 1 means that letting go pays.

Build the module in release mode first (`make bench` does).
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
from modelserve import _native

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROWS = (1, 16, 32, 64, 128, 256, 512, 1024)
THREADS = 4
ALWAYS, NEVER = 0, 2**64 - 1


def latency(call: Callable[[], object], seconds: float) -> float:
    """The median time of a call in µs."""
    times = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        call()
        times.append(clock() - start)
    return statistics.median(times) / 1e3


def throughput(call: Callable[[], object], seconds: float, busy: bool) -> float:
    """Calls a second of all threads; `busy` adds a thread of pure Python beside them."""
    counts = [0] * THREADS
    done = threading.Event()

    def ask(k: int) -> None:
        while not done.is_set():
            call()
            counts[k] += 1

    def compute() -> None:
        while not done.is_set():
            sum(range(100))

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
    return sum(counts) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=pathlib.Path, help="also write the table to this file")
    arguments = parser.parse_args()

    folder = ROOT / "tests" / "data" / "mlp"
    sample = np.array(json.loads((folder / "expected.json").read_text())["rows"], np.float32)
    model = ms.load(folder / "model.onnx", threads=1)
    lines = [
        "| rows | one thread, µs: never, always | 4 threads, calls/s: never, always "
        "| always / never | in one round | beside Python, calls/s: never, always "
        "| always / never |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rows in ROWS:
        batch = np.resize(sample, (rows, sample.shape[1]))

        def call(batch: np.ndarray = batch) -> object:
            return model.predict_batch(batch)

        turns: dict[int, list[tuple[float, float, float]]] = {ALWAYS: [], NEVER: []}
        for k in range(arguments.rounds):
            # Who goes first changes from round to round.
            for line in (ALWAYS, NEVER) if k % 2 == 0 else (NEVER, ALWAYS):
                before = _native.detach_above(line)
                turns[line].append(
                    (
                        latency(call, arguments.seconds / 3),
                        throughput(call, arguments.seconds, False),
                        throughput(call, arguments.seconds, True),
                    )
                )
                _native.detach_above(before)
        ratios = sorted(a[1] / n[1] for a, n in zip(turns[ALWAYS], turns[NEVER], strict=True))
        beside = [a[2] / n[2] for a, n in zip(turns[ALWAYS], turns[NEVER], strict=True)]
        a, n = (
            [statistics.median(column) for column in zip(*turns[line], strict=True)]
            for line in (ALWAYS, NEVER)
        )
        lines.append(
            f"| {rows:,} | {n[0]:.2f}, {a[0]:.2f} | {n[1]:,.0f}, {a[1]:,.0f} "
            f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} "
            f"| {n[2]:,.0f}, {a[2]:,.0f} | {statistics.median(beside):.2f} |"
        )
        print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
