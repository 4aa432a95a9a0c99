"""What each policy adds to a prediction from Python, alone and stacked.

    python benches/policies.py [--rounds 15] [--seconds 0.1] [--output FILE]

One model (a linear pipeline, about as cheap as a model gets) is served once without policies and
once behind each of them. All take turns within one run; each turn's median is one figure, and the
table shows the medians of those and of their differences to the bare model in the same round. The
last column is the rate of 64 tasks of one event loop that await predictions.

Build the module in release mode first (`make bench` does).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import statistics
import sys
import time
from functools import partial

import numpy as np

import modelserve as ms
from modelserve.policies import Policies

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "data" / "logistic"
CALLERS = 64
BATCHING: Policies = {"batching": {"max_batch_size": 32}}
STACK: Policies = {
    "deadline": {"default": "1m"},
    "admission": {"max_in_flight": 256},
    "breaker": True,
    "batching": {"max_batch_size": 32},
}
POLICIES: dict[str, Policies] = {
    "none": {},
    "deadline": {"deadline": {"default": "1m"}},
    "fallback": {"fallback": [{"constant": {"label": 0}}]},
    "cache, hit": {"cache": True},
    "admission": {"admission": {"max_in_flight": 256}},
    "breaker": {"breaker": True},
    "batching, idle": BATCHING,
    "all but the cache": STACK,
}


def turn(model: ms.Model, row: np.ndarray, seconds: float) -> float:
    """The median time of one prediction in ns, over `seconds` of them."""
    times = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        model.predict(row)
        times.append(clock() - start)
    return float(statistics.median(times))


async def rate(model: ms.Model, row: np.ndarray, seconds: float) -> float:
    """Predictions a second that `CALLERS` tasks await together."""
    end = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await model.predict_async(row)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each turn")
    parser.add_argument("--output", type=pathlib.Path, help="also write the table to this file")
    arguments = parser.parse_args()

    rows = json.loads((FOLDER / "expected.json").read_text())["rows"]
    row = np.array(rows[0], dtype=np.float32)
    manager = ms.ModelManager(threads=1)
    models = []
    for k, policies in enumerate(POLICIES.values()):
        models.append(manager.load(f"m{k}", FOLDER / "model.onnx"))
        manager.configure(f"m{k}", **policies)
    answers = {model.predict(row).prediction for model in models}
    if len(answers) != 1:
        sys.exit(f"the policies answer differently ({answers}): timing them would say nothing")

    figures: list[list[float]] = [[] for _ in models]
    rates: list[list[float]] = [[] for _ in models]
    for model in models:
        turn(model, row, arguments.seconds)
    for k in range(arguments.rounds):
        # Who goes first changes from round to round.
        order = range(len(models)) if k % 2 == 0 else reversed(range(len(models)))
        for i in order:
            figures[i].append(turn(models[i], row, arguments.seconds))
            if k % 5 == 0:
                loop = partial(rate, models[i], row, arguments.seconds * 3)
                rates[i].append(asyncio.run(loop()))
    lines = [
        f"Python {sys.version.split()[0]}, {arguments.rounds} rounds of {arguments.seconds} s",
        "",
        "| policy | one prediction, ns | above none, ns | 64 tasks, predictions a second |",
        "|---|---:|---:|---:|",
    ]
    for name, times, loops in zip(POLICIES, figures, rates, strict=True):
        above = statistics.median(t - bare for t, bare in zip(times, figures[0], strict=True))
        lines.append(
            f"| {name} | {statistics.median(times):,.0f} | {above:,.0f} "
            f"| {statistics.median(loops):,.0f} |"
        )
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(table)


if __name__ == "__main__":
    main()
