"""A forked child serves on: the queues, lanes and threads of its parent are not its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Case, case

import modelserve as ms

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def in_a_child(work: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    "policies",
    [
        {"batching": {"max_batch_size": 8, "concurrency": 1}},
        {"cache": True, "admission": {"max_in_flight": 64}, "breaker": True, "batching": True},
        {"deadline": {"default": "1m"}, "fallback": [{"constant": {"label": 0}}]},
    ],
    ids=["batching", "version", "above"],
)
def test_a_forked_child_predicts_behind_policies(
    manager: ms.ModelManager, policies: ms.policies.Policies
) -> None:
    c = case("iris_v1")
    model = manager.load("iris", c.path)
    manager.configure("iris", **policies)

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(model.predict_async(row) for row in c.rows))
        return [a.prediction for a in answers]

    def serves() -> bool:
        labels = c.expected["labels"]
        same: bool = asyncio.run(ask()) == labels
        same &= [model.predict(row).prediction for row in c.rows] == labels
        same &= model.predict(c.rows[0], timeout=60).prediction == labels[0]
        manager.reload("iris", c.path)
        return same and bool(model.predict(c.rows[0]).prediction == labels[0])

    assert serves()
    assert in_a_child(serves) == 0
    assert serves()
    # A child of a child.
    assert in_a_child(lambda: in_a_child(serves) == 0 and serves()) == 0


def test_children_start_threads_where_the_parents_slept(manager: ms.ModelManager) -> None:
    """The stacks of the parent's sleeping threads go to the child's: nothing may point there."""
    c = case("iris_v1")
    model = manager.load("iris", c.path)
    manager.configure("iris", batching={"max_batch_size": 4, "concurrency": 32})
    labels = c.expected["labels"]

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(model.predict_async(row) for row in c.rows[:32]))
        return [a.prediction for a in answers]

    def serves() -> bool:
        same = asyncio.run(ask()) == labels[:32]
        with ThreadPoolExecutor(24) as pool:
            got = pool.map(lambda row: model.predict(row).prediction, list(c.rows) * 6)
            return same and list(got) == labels * 6

    assert serves()
    assert [in_a_child(serves) for _ in range(12)] == [0] * 12


def test_a_child_of_a_process_that_watches_records_and_times(iris: Case, tmp_path: Path) -> None:
    """Watcher, recorder, timer and log have threads and locks that the child does not have."""
    root = tmp_path / "models"
    (root / "iris" / "1").mkdir(parents=True)
    shutil.copy(iris.path, root / "iris" / "1" / "model.onnx")
    manager = ms.ModelManager()
    manager.serve_repository(root, poll_interval=0.02, settle=0.001)
    manager.configure("iris", deadline={"default": "30s"}, batching=True)
    file = tmp_path / "requests.jsonl"
    manager.record("iris", file, sample=1.0)
    labels = iris.expected["labels"]

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(manager.predict_async("iris", r) for r in iris.rows))
        return [a.prediction for a in answers]

    def serves() -> bool:
        return (
            asyncio.run(ask()) == labels
            and manager.predict("iris", iris.rows[0]).model_version == 1
        )

    def leaves() -> bool:
        same = serves()
        # Ends what the parent started, without waiting for threads that are not here.
        status = manager.stop_recording("iris")
        manager.unload("iris")
        return same and status is not None

    assert serves()
    assert [in_a_child(leaves) for _ in range(3)] == [0] * 3
    assert serves()
    status = manager.stop_recording("iris")
    assert status is not None and status["ended"] is None
    # What the children asked is not in the parent's file.
    asked = 2 * (len(iris.rows) + 1)
    assert status["written"] + status["dropped"] == asked
    assert len(file.read_text().splitlines()) == status["written"] + 1
