"""Times modelserve and onnxruntime side by side, from Python, on the same models and rows.

    make bench                        # or, with the module built in release mode:
    python benches/compare_onnxruntime.py [--rounds 15] [--seconds 0.2] [--output FILE]

Both use one thread. The two take turns, several times a second, and each turn's median is one
figure: what else the machine does then falls on both alike. The table shows the medians of those
figures, their ratio, and between which bounds the ratio of single turns lay. Answers are
compared before anything is timed.

Needs numpy, onnxruntime and the `modelserve` module.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime as ort

import modelserve as ms

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = {
    "linear pipeline": "tests/data/logistic",
    "small MLP": "tests/data/mlp",
    "forest, 10 trees": "tests/data/random_forest",
}
BATCH = 1024


def rows_of(folder: pathlib.Path) -> np.ndarray:
    expected = json.loads((folder / "expected.json").read_text())
    rows = [[np.nan if v is None else v for v in row] for row in expected["rows"]]
    return np.array(rows, dtype=np.float32)


def session_of(folder: pathlib.Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def turn(call: Callable[[], object], seconds: float) -> float:
    """The median time of one call in µs, over `seconds` of calls."""
    times = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        call()
        times.append(clock() - start)
    return statistics.median(times) / 1000


# onnxruntime answers labels and probabilities: so that the same is timed, both are asked for here.
def one_row(manager: ms.ModelManager, name: str, row: np.ndarray) -> object:
    answer = manager.predict(name, row)
    return answer.prediction, answer.probability


def whole_batch(manager: ms.ModelManager, name: str, batch: np.ndarray) -> object:
    answers = manager.predict_batch(name, batch)
    return answers.predictions, answers.probabilities


def check(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    if [str(v) for v in ours] != [str(v) for v in theirs]:
        sys.exit(f"{name}: the two answer different labels; timing them would say nothing")


def cpu_name() -> str:
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each turn")
    parser.add_argument("--output", type=pathlib.Path, help="also write the table to this file")
    arguments = parser.parse_args()

    manager = ms.ModelManager(threads=1)
    machine = (
        f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, onnxruntime {ort.__version__}, "
        f"{arguments.rounds} rounds of {arguments.seconds} s"
    )
    lines = [
        machine,
        "",
        "| model | rows | modelserve, µs | onnxruntime, µs | theirs / ours | in one round |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, folder_name in MODELS.items():
        folder = ROOT / folder_name
        rows = rows_of(folder)
        batch = np.ascontiguousarray(np.resize(rows, (BATCH, rows.shape[1])))
        session = session_of(folder)
        feed = session.get_inputs()[0].name
        served = folder.name
        manager.load(served, str(folder / "model.onnx"))
        check(
            name,
            manager.predict_batch(served, batch).predictions,
            session.run(None, {feed: batch})[0],
        )

        row, row_2d = batch[0], batch[:1]
        cases: dict[int, tuple[Callable[[], object], Callable[[], object]]] = {
            1: (
                partial(one_row, manager, served, row),
                partial(session.run, None, {feed: row_2d}),
            ),
            BATCH: (
                partial(whole_batch, manager, served, batch),
                partial(session.run, None, {feed: batch}),
            ),
        }
        for count, calls in cases.items():
            for call in calls:
                turn(call, arguments.seconds / 2)
            ours, theirs = [], []
            for i in range(arguments.rounds):
                # Who goes first changes from round to round.
                order = (0, 1) if i % 2 == 0 else (1, 0)
                figures = {k: turn(calls[k], arguments.seconds) for k in order}
                ours.append(figures[0])
                theirs.append(figures[1])
            ratios = sorted(t / o for o, t in zip(ours, theirs, strict=True))
            a, b = statistics.median(ours), statistics.median(theirs)
            lines.append(
                f"| {name} | {count:,} | {a:,.2f} | {b:,.2f} | {b / a:.2f} "
                f"| {ratios[0]:.2f} to {ratios[-1]:.2f} |"
            )
            print(f"{name}, {count:,} rows: {a:,.2f} µs, {b:,.2f} µs", file=sys.stderr)
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(table)


if __name__ == "__main__":
    main()
