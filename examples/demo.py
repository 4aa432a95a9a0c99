"""The main job in one run: predict, check a whole test set, reload under load.

    make demo

Needs numpy and the `modelserve` module, and no scikit-learn: its own answers for the test set
stand in `data/breast_cancer_test.csv` (see `data/make_demo_data.py`).
"""

import csv
import pathlib
import sys
import threading
import time
from array import array

import numpy as np

import modelserve as ms

DATA = pathlib.Path(__file__).resolve().parent / "data"
NAME = "breast_cancer"
FEATURES = 30
THREADS = 4
SECONDS = 4.0
PAUSE_BETWEEN_RELOADS = 0.02
TOLERANCE = 1e-5


def model_file(version: int) -> str:
    return str(DATA / "models" / NAME / str(version) / "model.onnx")


class TestSet:
    """The rows, the truth, and what scikit-learn answered with each of the two models."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, newline="") as file:
            header, *lines = csv.reader(file)
        column = {name: [line[i] for line in lines] for i, name in enumerate(header)}
        self.rows = np.array([line[:FEATURES] for line in lines], dtype=np.float32)
        self.truth = column["diagnosis"]
        self.labels = {v: column[f"v{v} label"] for v in (1, 2)}
        self.probabilities = {}
        for v in (1, 2):
            start = f"v{v} probability "
            columns = [column[name] for name in header if name.startswith(start)]
            self.probabilities[v] = np.array(columns, dtype=np.float32).T


def accuracy(labels: list[str], truth: list[str]) -> float:
    return sum(a == b for a, b in zip(labels, truth, strict=True)) / len(truth)


def predict_one(manager: ms.ModelManager, test: TestSet) -> None:
    answer = manager.predict(NAME, test.rows[0])
    print("One row")
    print(f"  prediction   {answer.prediction} (truth: {test.truth[0]})")
    print(f"  probability  {answer.probability:.6f}")
    print(f"  version      {answer.model_version}")
    print(f"  latency      {answer.latency_ms * 1000:.1f} µs")


def predict_all(manager: ms.ModelManager, test: TestSet) -> bool:
    """Scores the test set with both models; whether every answer is scikit-learn's."""
    print(f"\nThe test set, {len(test.rows)} rows in one batch")
    print("  model                 accuracy   scikit-learn   same labels   largest difference")
    good = True
    for v, kind in ((1, "logistic regression"), (2, "random forest")):
        if v > 1:
            manager.reload(NAME, model_file(v))
        batch = manager.predict_batch(NAME, test.rows)
        labels = [str(label) for label in batch.predictions]
        probabilities = batch.probabilities
        if probabilities is None:
            raise SystemExit("the model answers no probabilities")
        same = sum(a == b for a, b in zip(labels, test.labels[v], strict=True))
        difference = float(np.abs(probabilities - test.probabilities[v]).max())
        good &= same == len(labels) and difference <= TOLERANCE
        print(
            f"  {kind:<20}  {accuracy(labels, test.truth):>7.2%}  "
            f"{accuracy(test.labels[v], test.truth):>12.2%}   "
            f"{same:>5} of {len(labels)}   {difference:>18.1e}"
        )
    manager.reload(NAME, model_file(1))
    return good


class Caller(threading.Thread):
    """One thread that predicts until it is told to stop."""

    def __init__(self, manager: ms.ModelManager, rows: np.ndarray, stop: threading.Event) -> None:
        super().__init__()
        self.manager, self.rows, self.stop = manager, rows, stop
        self.requests = 0
        self.errors: list[str] = []
        # The labels that were answered, by version and row.
        self.answers: dict[tuple[int, int], str] = {}
        # Two versions must not answer differently under one number.
        self.mixed = 0
        self.inside = array("d")
        self.outside = array("d")

    def run(self) -> None:
        rows = list(self.rows)
        while not self.stop.is_set():
            for i, row in enumerate(rows):
                start = time.perf_counter()
                self.requests += 1
                try:
                    answer = self.manager.predict(NAME, row)
                except ms.ModelServeError as error:
                    self.errors.append(f"{type(error).__name__}: {error}")
                    continue
                self.outside.append(time.perf_counter() - start)
                self.inside.append(answer.latency_ms / 1000)
                label = str(answer.prediction)
                if self.answers.setdefault((answer.model_version, i), label) != label:
                    self.mixed += 1


class Progress:
    """A bar on a terminal, else a line a second."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.bar, self.next = seconds, sys.stdout.isatty(), 1.0

    def show(self, elapsed: float, text: str) -> None:
        elapsed = min(elapsed, self.seconds)
        if self.bar:
            done = int(30 * elapsed / self.seconds)
            line = f"  [{'#' * done}{'.' * (30 - done)}] {elapsed:.1f} s  {text}"
            print(f"\r{line:<78}", end="", flush=True)
        elif elapsed >= self.next:
            print(f"  {elapsed:.0f} s  {text}", flush=True)
            self.next += 1.0

    def finish(self) -> None:
        if self.bar:
            print()


def reload_under_load(manager: ms.ModelManager, test: TestSet) -> bool:
    """Swaps the two models again and again while threads predict; whether nothing went wrong."""
    print(f"\nReloading for {SECONDS:.0f} s while {THREADS} threads predict")
    stop = threading.Event()
    callers = [Caller(manager, test.rows, stop) for _ in range(THREADS)]
    # Which file each version was loaded from.
    files = {manager.predict(NAME, test.rows[0]).model_version: 1}
    progress = Progress(SECONDS)
    start = time.perf_counter()
    for caller in callers:
        caller.start()
    file, reloads = 1, 0
    try:
        while (elapsed := time.perf_counter() - start) < SECONDS:
            file = 3 - file
            manager.reload(NAME, model_file(file))
            reloads += 1
            files[manager.predict(NAME, test.rows[0]).model_version] = file
            requests = sum(caller.requests for caller in callers)
            progress.show(elapsed, f"{requests:,} requests, {reloads} reloads")
            time.sleep(PAUSE_BETWEEN_RELOADS)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    elapsed = time.perf_counter() - start
    requests = sum(caller.requests for caller in callers)
    progress.show(SECONDS, f"{requests:,} requests, {reloads} reloads")
    progress.finish()

    errors = [error for caller in callers for error in caller.errors]
    # Whatever ended a thread has left a request without an answer.
    failures = requests - sum(len(caller.outside) for caller in callers)
    wrong = sum(caller.mixed for caller in callers)
    seen = set()
    for caller in callers:
        for (version, i), label in caller.answers.items():
            seen.add(version)
            wrong += label != test.labels[files[version]][i]
    print(f"  requests       {requests:,} ({requests / elapsed:,.0f} a second)")
    print(f"  failures       {failures}")
    print(f"  wrong answers  {wrong}")
    print(f"  versions seen  {len(seen)} of {len(files)} ({min(seen)} to {max(seen)})")
    for where, latencies in (
        ("in the library", [caller.inside for caller in callers]),
        ("for the caller", [caller.outside for caller in callers]),
    ):
        p50, p95, p99 = np.percentile(np.concatenate(latencies), [50, 95, 99]) * 1e6
        print(f"  {where} p50 {p50:,.1f} µs   p95 {p95:,.1f} µs   p99 {p99:,.1f} µs")
    for error in errors[:5]:
        print(f"  {error}")
    return not failures and not wrong and len(seen) > 1


def main() -> int:
    test = TestSet(DATA / f"{NAME}_test.csv")
    manager = ms.ModelManager()
    manager.load(NAME, model_file(1))
    predict_one(manager, test)
    same = predict_all(manager, test)
    served = reload_under_load(manager, test)
    print("\nMetrics (the first of them)")
    samples = [line for line in manager.metrics_text().splitlines() if line and line[0] != "#"]
    for line in samples[:6]:
        print(f"  {line}")
    if not same:
        print("\nFAILED: the answers are not scikit-learn's", file=sys.stderr)
    if not served:
        print("\nFAILED: requests failed or were answered wrongly", file=sys.stderr)
    return 0 if same and served else 1


if __name__ == "__main__":
    sys.exit(main())
