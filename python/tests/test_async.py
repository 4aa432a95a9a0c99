"""`await`: the event loop goes on while models run elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Case, case

import modelserve as ms

HANG = 120


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, HANG))


@pytest.mark.parametrize("batched", [False, True])
def test_a_thousand_requests_at_once(manager: ms.ModelManager, batched: bool) -> None:
    c = case("mlp")
    model = manager.load("mlp", c.path)
    if batched:
        manager.configure("mlp", batching={"max_batch_size": 32, "batch_invariant": True})
    want = [model.predict(row).scores for row in c.rows]

    async def work() -> None:
        ask = (manager.predict_async("mlp", c.rows[i % len(c.rows)]) for i in range(1_000))
        answers = await asyncio.gather(*ask)
        for i, answer in enumerate(answers):
            assert answer.scores == want[i % len(c.rows)]
            assert answer.receipt.model == "mlp" and 1 <= answer.receipt.batch_rows <= 32

    run(work())


def test_every_form_can_be_awaited(manager: ms.ModelManager, iris: Case, iris_v2: Case) -> None:
    model = manager.load("iris", iris.path)
    manager.load_version("iris", iris_v2.path)

    async def work() -> None:
        one = await asyncio.create_task(model.predict_async(iris.rows[0]))
        assert one.prediction == iris.expected["labels"][0]
        assert (await manager.predict_async("iris", iris.rows[0].tolist(), version=2)) is not None
        batch = await model.predict_batch_async(iris.rows, timeout=HANG)
        assert batch.predictions.tolist() == iris.expected["labels"]
        assert batch.receipt.version == 1
        assert len(await manager.predict_batch_async("iris", iris.rows.tolist())) == 45
        names = [o.name for o in model.signature.outputs]
        only = await manager.run_async("iris", {"X": iris.rows}, [names[1]], priority=1)
        assert list(only) == [names[1]]
        np.testing.assert_array_equal(only[names[1]], model.run({"X": iris.rows})[names[1]])
        assert list(await model.run_async({"X": iris.rows})) == names
        with manager.pin("iris") as snap:
            assert (await snap.model("iris").predict_async(iris.rows[0])).model_version == 1
        alone = ms.load(iris.path)
        assert (await alone.predict_async(iris.rows[0])).prediction == one.prediction

    run(work())


def test_the_loop_goes_on_while_a_slow_batch_runs(manager: ms.ModelManager) -> None:
    c = case("mlp")
    manager.load("mlp", c.path, plan="plain")
    rows = np.tile(c.rows, (60_000 // len(c.rows), 1))

    async def work() -> None:
        batch = asyncio.create_task(manager.predict_batch_async("mlp", rows))
        ticks = 0
        while not batch.done():
            await asyncio.sleep(0)
            ticks += 1
        assert len(batch.result()) == len(rows)
        # Submitting is one step of the loop; the rest were free.
        assert ticks > 10

    run(work())


def test_cancelling_ends_one_request_and_no_other(manager: ms.ModelManager) -> None:
    c = case("mlp")
    model = manager.load("mlp", c.path)
    manager.configure("mlp", batching={"max_batch_size": 8, "concurrency": 1})
    want = [model.predict(row).prediction for row in c.rows]
    rows = np.tile(c.rows, (60_000 // len(c.rows), 1))

    async def work() -> None:
        # The lane is busy meanwhile, so that the others wait in it.
        slow = asyncio.create_task(model.predict_batch_async(rows))
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(model.predict_async(row)) for row in c.rows]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(a, asyncio.CancelledError) for a in answers[::2])
        for i, answer in enumerate(answers):
            if i % 2:
                assert isinstance(answer, ms.Prediction) and answer.prediction == want[i]
        assert len(await slow) == len(rows)
        # And the next ones find nothing amiss.
        assert (await model.predict_async(c.rows[0])).prediction == want[0]

    run(work())


def test_errors_are_raised_where_the_answer_is_awaited(
    manager: ms.ModelManager, iris: Case
) -> None:
    model = manager.load("iris", iris.path)

    async def work() -> None:
        row = iris.rows[0]
        for coroutine, error in (
            (model.predict_async([1.0]), ms.InvalidInputError),
            (model.predict_async(row, version=9), ms.NotFoundError),
            (model.predict_async(row, timeout=0), ms.DeadlineExceededError),
            (model.predict_async(row, priority=500), ms.InvalidArgumentError),
            (model.pin().predict_async(row, version=2), ms.InvalidArgumentError),
            (model.run_async({"Y": iris.rows}), ms.InvalidInputError),
        ):
            with pytest.raises(error):
                await coroutine
        with pytest.raises(ms.NotFoundError):
            await manager.predict_async("nothing", row)
        manager.unload("iris")
        with pytest.raises(ms.NotFoundError, match="unloaded"):
            await model.predict_async(row)

    run(work())


def test_an_evicted_model_is_loaded_off_the_loop(iris: Case) -> None:
    probe = ms.ModelManager()
    weights = probe.load("iris", iris.path).info().weight_bytes
    budget = iris.path.stat().st_size + weights - 1
    manager = ms.ModelManager(memory_budget=budget, memory_policy="evict")
    manager.load("a", iris.path)
    manager.load("b", iris.path)
    assert [held.model for held in manager.memory()] == ["b"]

    async def work() -> None:
        assert (await manager.predict_async("a", iris.rows[0])).receipt.model == "a"
        assert [held.model for held in manager.memory()] == ["a"]

    run(work())


def test_several_loops_get_their_own_answers(manager: ms.ModelManager, iris: Case) -> None:
    model = manager.load("iris", iris.path)

    async def ask(n: int) -> list[int]:
        answers = await asyncio.gather(*(model.predict_async(iris.rows[n]) for _ in range(50)))
        return [a.prediction for a in answers]

    async def work() -> None:
        loops = (asyncio.to_thread(asyncio.run, ask(n)) for n in range(0, 45, 11))
        for n, labels in zip(range(0, 45, 11), await asyncio.gather(*loops), strict=True):
            assert labels == [iris.expected["labels"][n]] * 50

    run(work())


@pytest.mark.parametrize(
    "ending", ["loop closed", "exit", "daemon thread", "daemon thread that blocks"]
)
def test_processes_end_with_requests_under_way(iris: Case, ending: str) -> None:
    program = f"""
        import asyncio, logging, sys, threading
        import numpy as np
        import modelserve as ms
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
        ms.enable_logging("DEBUG")
        manager = ms.ModelManager()
        manager.on_event(print)
        model = manager.load("iris", {str(iris.path)!r}, plan="plain")
        rows = np.ones((60_000, 4), np.float32)
        async def work():
            tasks = [asyncio.create_task(model.predict_batch_async(rows)) for _ in range(20)]
            await tasks[0]
            if {ending!r} == "exit":
                raise SystemExit(0)
        def forever():
            while True:
                asyncio.run(work())
        def blocking():
            while True:
                model.predict_batch(rows)
        if {ending!r} == "daemon thread":
            threading.Thread(target=forever, daemon=True).start()
        if {ending!r} == "daemon thread that blocks":
            for _ in range(4):
                threading.Thread(target=blocking, daemon=True).start()
        asyncio.run(work())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        timeout=HANG,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert ended.returncode == 0, ended.stderr
