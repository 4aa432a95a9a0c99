"""Threads, reloads, forks and the end of the process."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Case, case
from onnx import TensorProto, helper, numpy_helper

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
        "import builtins; builtins.manager = manager",
        "keeps = type('Keeps', (), {'__del__': lambda self: model.predict([1.0] * 4)})()",
        "import atexit; atexit.register(lambda: model.predict_batch(rows))",
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


def test_a_callback_may_predict_whatever_the_other_threads_do(
    manager: ms.ModelManager, iris: Case
) -> None:
    model = manager.load("iris", iris.path)
    label = iris.expected["labels"][0]
    row = iris.rows[0].tolist()
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: list[int] = []

    def predict() -> None:
        for _ in range(200):
            answers.append(model.predict(row).prediction)

    manager.on_event(lambda _: told.put(manager.predict("iris", row).prediction))
    threads = [threading.Thread(target=predict, daemon=True) for _ in range(16)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(20):
            manager.reload("iris", iris.path)
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not any(thread.is_alive() for thread in threads)
    assert answers == [label] * (16 * 200)
    # Of each reload at least that it was loaded, is available and serves.
    assert [told.get(timeout=60) for _ in range(60)] == [label] * 60


def test_rows_may_change_while_they_are_predicted(iris: Case) -> None:
    """Values may be of before or after; each answer is one of the model's all the same."""
    model = ms.load(iris.path)
    rows = np.tile(iris.rows, (400, 1))
    classes = set(iris.expected["labels"])
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            rows[::2] = np.nan
            rows[:] = 1e30
            rows[1::2] = 0

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(40):
            answers = model.predict_batch(rows)
            assert len(answers) == len(rows) and set(answers.predictions.tolist()) <= classes
    finally:
        done.set()
        thread.join(60)


def begin(program: str) -> subprocess.Popen[str]:
    # A shell's jobs in the background, and what they start, are deaf to Control-C otherwise.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", hear + textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a program prints that is interrupted a while after it said that it has begun."""
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def test_control_c_is_heard_between_predictions(iris: Case) -> None:
    process = begin(f"""
        import numpy as np
        import modelserve as ms
        model = ms.load({str(iris.path)!r}, plan="plain")
        rows = np.ones((20_000, 4), np.float32)
        try:
            print("begun", flush=True)
            while True:
                model.predict_batch(rows)
        except KeyboardInterrupt:
            print(model.predict([1.0] * 4).prediction)
    """)
    out, err = interrupted(process)
    assert process.returncode == 0 and out.strip().isdigit(), err


def slow_model(path: Path) -> None:
    """A product of two matrices for each row, one after the other."""
    size = 512
    one = helper.make_tensor_value_info
    state = [size, size]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go on"], ["still"]),
            helper.make_node("MatMul", ["state", "W"], ["next"]),
        ],
        "body",
        [
            one("turn", TensorProto.INT64, []),
            one("go on", TensorProto.BOOL, []),
            one("state", TensorProto.FLOAT, state),
        ],
        [one("still", TensorProto.BOOL, []), one("next", TensorProto.FLOAT, state)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["X"], ["shape"], start=0, end=1),
            helper.make_node("Squeeze", ["shape"], ["rows"]),
            helper.make_node("Loop", ["rows", "", "W"], ["Y"], body=body),
        ],
        "slow",
        [one("X", TensorProto.FLOAT, ["N", 1])],
        [one("Y", TensorProto.FLOAT, state)],
        [numpy_helper.from_array(np.full(state, 1 / size, np.float32), "W")],
    )
    opsets = [helper.make_opsetid("", 18)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())


@pytest.mark.parametrize("served", ["alone", "managed", "with a timeout"])
def test_control_c_ends_a_long_prediction(tmp_path: Path, served: str) -> None:
    path = tmp_path / "slow.onnx"
    slow_model(path)
    model = f"ms.load({str(path)!r}, threads=1)"
    if served == "managed":
        model = f"ms.ModelManager().load('m', {str(path)!r}, threads=1)"
    asked = ", timeout=3600" if served == "with a timeout" else ""
    process = begin(f"""
        import numpy as np
        import modelserve as ms
        model = {model}
        # Far more than a minute of work.
        rows = np.ones((65_536, 1), np.float32)
        try:
            print("begun", flush=True)
            model.run({{"X": rows}}{asked})
        except KeyboardInterrupt:
            print(model.run({{"X": rows[:1]}})["Y"].shape)
    """)
    out, err = interrupted(process)
    assert process.returncode == 0 and out.strip() == "(512, 512)", err


def test_a_second_interpreter_is_refused(iris: Case) -> None:
    process = begin(f"""
        import os
        import modelserve as ms
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        read, write = os.pipe()
        second = interpreters.create()
        interpreters.run_string(second, '''if True:
            import os
            try:
                import modelserve
                said = "imported"
            except ImportError as error:
                said = "refused: " + str(error)
            os.write(%d, said.encode())
        ''' % write)
        print(os.read(read, 1000).decode())
        interpreters.destroy(second)
        print(ms.load({str(iris.path)!r}).predict([1.0] * 4).prediction)
    """)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    said, answer = out.splitlines()
    assert said.startswith("refused: ") and "interpreter" in said
    assert answer.isdigit()


def test_nothing_is_claimed_of_builds_without_the_lock() -> None:
    """As long as these tests do not run there, Python has to turn its lock on for the module."""
    source = Path(__file__).parents[2] / "bindings" / "python" / "src" / "lib.rs"
    assert "#[pymodule(gil_used = true)]" in source.read_text()


def test_memory_and_references_stay_level(iris: Case) -> None:
    model = ms.load(iris.path)
    row = iris.rows[0].tolist()
    before = sys.getrefcount(row)
    for _ in range(10_000):
        p = model.predict(row)
        p.probabilities  # noqa: B018
    assert sys.getrefcount(row) == before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_predictions_leave_nothing_in_memory(iris: Case) -> None:
    model = ms.load(iris.path)
    row = iris.rows[0].tolist()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def predict(times: int) -> None:
        for _ in range(times):
            p = model.predict(row)
            p.probabilities  # noqa: B018
        for _ in range(times // 100):
            model.predict_batch(iris.rows).probabilities  # noqa: B018

    predict(20_000)
    before = resident()
    predict(100_000)
    assert resident() - before < 4 << 20
