"""The fleet of examples/nginx for tests: a real nginx before three real workers, and its log."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODEL = "breast_cancer"
HANG = 60
#: Why the tests are skipped where there is no nginx; None where there is one.
MISSING = (
    None
    if shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    else "nginx is not installed (apt-get install nginx-light)"
)


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("nginx_run", EXAMPLES / "nginx" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


example = _example()


@dataclass
class Truth:
    """The test set, and what scikit-learn answered for each of the two models."""

    rows: list[list[float]]
    malignant: list[np.ndarray]

    def is_right(self, version: int, first: int, probabilities: list[list[float]]) -> bool:
        """Odd versions are published from the first model, even ones from the second."""
        expected = self.malignant[(version + 1) % 2][first : first + len(probabilities)]
        return np.allclose(np.array(probabilities)[:, 1], expected, atol=1e-5)

    @classmethod
    def read(cls) -> Truth:
        with (EXAMPLES / "data" / f"{MODEL}_test.csv").open() as file:
            table = list(csv.DictReader(file))
        features = list(table[0])[:30]
        malignant = [
            np.array([float(row[f"v{v} probability malignant"]) for row in table]) for v in (1, 2)
        ]
        assert not np.allclose(malignant[0], malignant[1], atol=0.01)
        return cls([[float(row[name]) for name in features] for row in table], malignant)


@contextmanager
def running(folder: Path) -> Iterator[Any]:
    """The fleet as it is shipped, its files in `folder`."""
    example.prepare(folder)
    with example.Fleet(folder) as fleet:
        yield fleet


@contextmanager
def first_worker_empty(fleet: Any, folder: Path) -> Iterator[str]:
    """The first worker has no model, and its files in `folder`; answers where it is."""
    (folder / "models").mkdir()
    shutil.copy(fleet.folder / "modelserve.toml", folder)
    fleet.stop_worker(0)
    fleet.start_worker(0, folder / "modelserve.toml")
    try:
        empty: str = fleet.worker_url(0)
        wait_until("the empty worker", lambda: example.answers(f"{empty}/v2/health/live"))
        yield empty
    finally:
        fleet.stop_worker(0)
        fleet.start_worker(0)
        fleet.wait_for_worker(0)


def wait_until(what: str, met: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG
    while not met():
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.02)


def log_of(fleet: Any) -> list[dict[str, Any]]:
    lines = (fleet.folder / "access.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def log_behind(fleet: Any, start: int, count: int) -> list[dict[str, Any]]:
    """The entries of `count` requests; nginx writes one when its answer has been sent."""
    wait_until("the access log", lambda: len(log_of(fleet)) >= start + count)
    return log_of(fleet)[start:]
