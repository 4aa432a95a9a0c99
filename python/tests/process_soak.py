"""Forks, ends of the interpreter and signals, many times each and none of them a hang.

    python python/tests/process_soak.py --times 1000

Every child has five seconds, after which an alarm ends it and it counts as hung.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from conftest import Case, case

import modelserve as ms

#: Runs so many children.
Scenario = Callable[[int], "Tally"]
#: Seconds that a child has.
ALARM = 5
#: Seconds after which whatever waits for a child gives up.
GUARD = 60


@dataclass
class Tally:
    """What came of the children of one scenario."""

    what: str
    times: int = 0
    hung: int = 0
    wrong: int = 0

    def note(self, status: int) -> None:
        """Counts a child by its exit code."""
        self.times += 1
        self.hung += status == -signal.SIGALRM
        self.wrong += status not in (0, -signal.SIGALRM)

    def line(self, seconds: float) -> str:
        return (
            f"{self.what}: {self.times} times, {self.hung} hangs (alarm {ALARM} s), "
            f"{self.wrong} wrong, {seconds:.0f} s"
        )


@contextmanager
def under_load(model: ms.Model, c: Case, threads: int = 2) -> Iterator[None]:
    """Threads that predict meanwhile: a fork meets them anywhere."""
    done = threading.Event()

    def predict() -> None:
        for row in itertools.cycle(c.rows):
            if done.is_set():
                return
            model.predict(row)

    running = [threading.Thread(target=predict, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in running:
            thread.join(GUARD)


def fork(times: int) -> Tally:
    """Children of a process whose other threads predict, through every policy."""
    tally = Tally("fork")
    c = case("iris_v1")
    labels = c.expected["labels"]
    manager = ms.ModelManager()
    model = manager.load("iris", c.path)
    manager.configure(
        "iris",
        cache=True,
        admission={"max_in_flight": 64},
        breaker=True,
        batching={"max_batch_size": 8, "concurrency": 1},
        deadline={"default": "1m"},
    )

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(model.predict_async(row) for row in c.rows[:8]))
        return [a.prediction for a in answers]

    def serves(number: int) -> bool:
        same = [model.predict(row).prediction for row in c.rows[:8]] == labels[:8]
        same &= asyncio.run(ask()) == labels[:8]
        if number % 4 == 0:
            manager.reload("iris", c.path)
            same &= bool(model.predict(c.rows[0]).prediction == labels[0])
        return same

    if not serves(0):
        raise AssertionError("the parent answers wrongly")
    with under_load(model, c):
        for number in range(times):
            child = os.fork()
            if child == 0:
                signal.alarm(ALARM)
                try:
                    os._exit(0 if serves(number) else 1)
                except BaseException:
                    os._exit(2)
            _, status = os.waitpid(child, 0)
            tally.note(os.waitstatus_to_exitcode(status))
    if not serves(0):
        tally.wrong += 1
    return tally


#: How an interpreter comes to its end while threads predict.
ENDINGS = [
    "pass",
    "cycle = [manager]; cycle.append(cycle)",
    "raise SystemExit(0)",
    "import gc; gc.freeze()",
    "manager.unload('iris')",
    "asyncio.run(ask())",
]

PROGRAM = """
    import asyncio, signal, threading
    import numpy as np
    import modelserve as ms
    manager = ms.ModelManager()
    model = manager.load("iris", {path!r})
    manager.configure("iris", batching=True, cache=True)
    rows = np.ones((2_000, 4), np.float32)
    async def ask():
        tasks = [model.predict_async([1.0, 2.0, 3.0, float(i)]) for i in range(8)]
        await tasks[0]
    def forever():
        try:
            while True:
                model.predict_batch(rows)
                model.predict([1.0, 2.0, 3.0, 4.0])
        except ms.NotFoundError:
            pass
    for _ in range(2):
        threading.Thread(target=forever, daemon=True).start()
    model.predict_batch(rows)
    signal.alarm({alarm})
    {ending}
"""


def leave(times: int) -> Tally:
    """Interpreters that end while daemon threads predict."""
    tally = Tally("interpreter exit")
    path = str(case("iris_v1").path)

    def once(number: int) -> int:
        ending = ENDINGS[number % len(ENDINGS)]
        program = textwrap.dedent(PROGRAM.format(path=path, alarm=ALARM, ending=ending))
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            timeout=GUARD,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode not in (0, -signal.SIGALRM):
            print(f"{ending}: {run.returncode}\n{run.stderr}", file=sys.stderr)
        return run.returncode

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for status in pool.map(once, range(times)):
            tally.note(status)
    return tally


def work(acknowledge: int) -> None:
    """What the process that gets the signals does: predict, load and reload, and tell of each
    signal by a letter."""
    c, other = case("iris_v1"), case("mlp")
    labels = c.expected["labels"]
    manager = ms.ModelManager()
    model = manager.load("iris", c.path)
    many = np.tile(c.rows, (200, 1))
    steps: list[Callable[[], object]] = [
        lambda: model.predict(c.rows[0]),
        lambda: model.predict_batch(many),
        lambda: ms.load(other.path),
        lambda: manager.reload("iris", c.path),
    ]

    def leave_well(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGUSR1, lambda *_: os.write(acknowledge, b"u"))
    signal.signal(signal.SIGTERM, leave_well)
    with under_load(model, c, threads=1):
        os.write(acknowledge, b"r")
        while True:
            try:
                for step in itertools.cycle(steps):
                    step()
            except KeyboardInterrupt:
                right = [model.predict(row).prediction for row in c.rows[:4]] == labels[:4]
                os.write(acknowledge, b"i" if right else b"!")


def signals(times: int, seed: int = 1) -> Tally:
    """Signals to a process that predicts, loads and reloads: a handler in Python runs, and Ctrl-C
    raises."""
    tally = Tally("signals")
    chance = random.Random(seed)
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        [sys.executable, __file__, "--work", str(theirs)],
        pass_fds=[theirs],
        # Ctrl-C is not left out where whoever started this ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(theirs)

    def told(seconds: float) -> bytes | None:
        ready, _, _ = select.select([ours], [], [], seconds)
        return os.read(ours, 1) if ready else None

    try:
        if told(GUARD) != b"r":
            raise AssertionError("the process does not begin")
        for number, (sent, letter) in enumerate(
            itertools.chain.from_iterable(
                [(signal.SIGUSR1, b"u"), (signal.SIGINT, b"i")] for _ in range(times)
            )
        ):
            # What was told of the last one is followed by the next step.
            time.sleep(0.001 + chance.random() * 0.003)
            child.send_signal(sent)
            answer = told(ALARM)
            tally.times = number // 2 + 1
            if answer is None:
                tally.hung += 1
                break
            tally.wrong += answer != letter
        child.terminate()
        try:
            tally.wrong += child.wait(ALARM) != 0
        except subprocess.TimeoutExpired:
            tally.hung += 1
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1000, help="how often each (1000)")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        work(asked.work)
        return 0
    well = True
    for scenario in (fork, leave, signals):
        began = time.monotonic()
        tally = scenario(asked.times)
        print(tally.line(time.monotonic() - began), flush=True)
        well &= tally.hung == 0 and tally.wrong == 0 and tally.times == asked.times
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
