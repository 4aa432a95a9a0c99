"""Threads, reloads, forks and the end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from conftest import Case, case

import modelserve as ms


def test_threads_predict_while_reloading(
    manager: ms.ModelManager, iris: Case, iris_v2: Case
) -> None:
    model = manager.load("iris", iris.path)
    files = [iris.path.read_bytes(), iris_v2.path.read_bytes()]
    labels = [iris.expected["labels"], iris_v2.expected["labels"]]
    rows = iris.rows
    lists = rows.tolist()
    done = threading.Event()
    failures: list[BaseException] = []
    counts = [0] * 8

    def predict(k: int) -> None:
        try:
            while not done.is_set():
                i = counts[k] % len(rows)
                p = model.predict(lists[i])
                # Odd versions are v1: version and answer belong together.
                assert p.prediction == labels[(p.model_version - 1) % 2][i]
                if counts[k] % 16 == 0:
                    b = manager.predict_batch("iris", rows)
                    assert list(b.predictions) == labels[(b.model_version - 1) % 2]
                counts[k] += 1
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=predict, args=(k,)) for k in range(8)]
    try:
        for t in threads:
            t.start()
        for n in range(300):
            manager.reload("iris", files[(n + 1) % 2])
    finally:
        done.set()
        for t in threads:
            t.join(60)
        sys.setswitchinterval(interval)
    assert not failures, failures[0]
    assert all(counts) and manager.info("iris").version == 301


def test_long_predictions_let_other_threads_run(iris: Case) -> None:
    model = ms.load(iris.path)
    rows = np.tile(iris.rows, (1_400, 1))
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    for _ in range(50):
        model.predict_batch(rows)
    after = ticks
    done.set()
    thread.join()
    assert after > before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("name", "plan"), [("iris_v1", "optimised"), ("mlp", "plain")])
def test_a_forked_child_predicts(manager: ms.ModelManager, name: str, plan: str) -> None:
    c = case(name)
    model = manager.load(name, c.path, plan=plan)
    # Enough for the parent to start threads.
    rows = np.tile(c.rows, (60_000 // len(c.rows), 1))
    want = model.predict_batch(rows).predictions
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            same = np.array_equal(model.predict_batch(rows).predictions, want)
            same &= model.predict(c.rows[0]).prediction == want[0]
            manager.reload(name, c.path)
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "cycle = [manager]; cycle.append(cycle)",
        "raise SystemExit(0)",
        "import gc; gc.freeze()",
    ],
)
def test_processes_end_in_time(iris: Case, ending: str) -> None:
    program = f"""
        import threading
        import numpy as np
        import modelserve as ms
        manager = ms.ModelManager()
        model = manager.load("iris", {str(iris.path)!r})
        rows = np.ones((20_000, 4), np.float32)
        def forever():
            while True:
                model.predict_batch(rows)
                model.predict([1.0, 2.0, 3.0, 4.0])
        for _ in range(2):
            threading.Thread(target=forever, daemon=True).start()
        model.predict_batch(rows)
        {ending}
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_memory_and_references_stay_level(iris: Case) -> None:
    model = ms.load(iris.path)
    row = iris.rows[0].tolist()
    before = sys.getrefcount(row)
    for _ in range(10_000):
        p = model.predict(row)
        p.probabilities  # noqa: B018
    assert sys.getrefcount(row) == before
