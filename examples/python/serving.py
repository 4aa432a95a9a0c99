"""Everything around a model, one piece after the other: versions, gates, policies, events, await.

python examples/python/serving.py
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import numpy as np

import modelserve as ms

DATA = Path(__file__).resolve().parents[1] / "data"
ONE = DATA / "models" / "breast_cancer" / "1" / "model.onnx"
TWO = DATA / "models" / "breast_cancer" / "2" / "model.onnx"


def rows_of(model: ms.Model) -> np.ndarray:
    table = np.genfromtxt(DATA / "breast_cancer_test.csv", delimiter=",", skip_header=1)
    *_, width = model.signature.inputs[0].shape or [None]
    assert isinstance(width, int)
    return table[:, :width].astype(np.float32)


def versions(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """Two versions side by side, a label, and the way back."""
    manager.load_version("cancer", TWO)
    manager.set_label("cancer", "candidate", 2)
    print("label candidate:", manager.predict("cancer", rows[0], label="candidate").receipt)
    manager.serve("cancer", 2)
    print("rolled back to version", manager.rollback("cancer").version)
    for status in manager.versions("cancer"):
        print(f"  version {status.version}: {status.state}, serving: {status.serving}")


def gate(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """A new version is tried on recent requests before it serves."""
    for row in rows:
        manager.predict("cancer", row)
    strict = ms.Gate(golden=[{"row": rows[0]}], replay_last=100, max_drift=1e-9)
    try:
        manager.reload("cancer", TWO, gate=strict)
    except ms.InvalidModelError as error:
        print("refused:", error)
    print(manager.gate_report("cancer"))


def canary_and_shadow(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """A candidate answers a part of the traffic, or is only compared."""
    manager.configure("cancer", canary={"version": 2, "percent": 10})
    for n, row in enumerate(rows):
        manager.predict("cancer", row, key=f"user {n}")
    print(manager.traffic("cancer"))
    manager.set_canary_percent("cancer", 0)
    manager.configure("cancer", shadow={"version": 2, "percent": 100})
    for row in rows:
        manager.predict("cancer", row)
    print(manager.shadow("cancer"))


def resilience(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """A deadline, and who answers when it passes; a circuit breaker; refusal at the door."""
    manager.configure(
        "cancer",
        deadline={"default": "50ms"},
        fallback=[{"constant": {"label": "malignant"}}],
        breaker={"window": "10s", "open_for": "1s"},
        admission={"max_in_flight": 64},
    )
    print(manager.predict("cancer", rows[0], timeout=0).receipt.fallback)
    manager.predict("cancer", rows[0])
    print(manager.circuit("cancer"))


def cache(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """The same row twice is computed once."""
    manager.configure("cancer", cache={"capacity": "64MiB", "ttl": "5s"})
    print([manager.predict("cancer", rows[0]).receipt.cache for _ in range(3)])
    print(manager.cache("cancer"))


async def awaiting(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """Many requests at once run together; the event loop never runs a model."""
    manager.configure("cancer", batching={"max_batch_size": 32, "max_queue_delay": "2ms"})
    ask = (manager.predict_async("cancer", row, timeout=5.0) for row in rows)
    answers = await asyncio.gather(*ask)
    largest = max(answer.receipt.batch_rows for answer in answers)
    print(f"{len(answers)} answers, the largest batch had {largest} rows")


def pinned(manager: ms.ModelManager, rows: np.ndarray) -> None:
    """One consistent set of versions over several calls."""
    manager.load("other", TWO)
    with manager.pin("cancer", "other") as snap:
        manager.reload("other", ONE)
        print(snap, "answers with", snap.predict("other", rows[0]).model_version)


def from_a_file(rows: np.ndarray) -> None:
    """The same from one TOML file, with a repository of models."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "serving.toml"
        repository = json.dumps(str(DATA / "models"))
        file.write_text(
            f"""
            [manager]
            model_repository = {repository}

            [models.breast_cancer]
            version_policy = "latest(2)"
            labels = {{ stable = 1 }}

            [models.breast_cancer.deadline]
            default = "1s"
            """
        )
        manager = ms.ModelManager.from_config(file)
    print(manager, manager.predict("breast_cancer", rows[0], label="stable").receipt)
    for held in manager.memory():
        print(f"  {held.model} version {held.version}: {held.weights + held.packed} bytes")
    print("repository:", manager.refresh(), sep="\n")


def main() -> None:
    ms.enable_logging("WARNING")
    manager = ms.ModelManager(keep_versions=2)
    events = manager.events()
    model = manager.load("cancer", ONE)
    rows = rows_of(model)
    versions(manager, rows)
    gate(manager, rows)
    canary_and_shadow(manager, rows)
    resilience(manager, rows)
    cache(manager, rows)
    asyncio.run(awaiting(manager, rows))
    pinned(manager, rows)
    from_a_file(rows)
    while event := events.try_next():
        print(event)
    print(next(line for line in manager.metrics_text().splitlines() if "requests_total{" in line))


if __name__ == "__main__":
    main()
