"""Shared by the tests: the models of tests/data and their trainers' answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import modelserve as ms

if TYPE_CHECKING:
    from http_front import Front

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


@dataclass
class Case:
    """A test model and what is expected of it."""

    name: str
    path: Path
    expected: dict[str, Any]

    @property
    def rows(self) -> np.ndarray:
        return np.array(
            [[np.nan if x is None else x for x in row] for row in self.expected["rows"]],
            dtype=np.float32,
        )


def case(name: str) -> Case:
    folder = DATA / name
    path = folder / "model.onnx"
    if not path.exists():
        path = folder / "model.safetensors"
    return Case(name, path, json.loads((folder / "expected.json").read_text()))


def case_names() -> list[str]:
    return sorted(p.parent.name for p in DATA.glob("*/expected.json"))


@pytest.fixture(scope="session")
def iris() -> Case:
    return case("iris_v1")


@pytest.fixture(scope="session")
def iris_v2() -> Case:
    return case("iris_v2")


@pytest.fixture
def manager() -> ms.ModelManager:
    return ms.ModelManager()


#: Ray's tests need an environment and minutes of their own: `make test-engines` names them.
collect_ignore = ["engines"]

#: Tests that may be skipped where everything has to be there (CI), each with its reason.
MAY_SKIP: dict[str, str] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI=true a skipped test is a failed one: whatever it needs has to be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    skipped = [report.nodeid for report in reporter.stats.get("skipped", [])]
    missing = [nodeid for nodeid in skipped if nodeid not in MAY_SKIP]
    if missing:
        reporter.write_line(f"skipped although CI=true: {', '.join(missing)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def loaded(manager: ms.ModelManager, iris: Case) -> ms.ModelManager:
    """A manager with the model "iris"."""
    manager.load("iris", iris.path)
    return manager


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves an application with Uvicorn, and stops it at the end; answers where."""
    from uvicorn_server import Server

    servers: list[Server] = []

    def start(app: Any, **options: Any) -> str:
        servers.append(Server(app, **options))
        return servers[-1].url

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def front(served: tuple[Front, str]) -> Iterator[Front]:
    """What stands before the application of the module's `served`, without earlier notes."""
    front = served[0]
    front.bodies.clear()
    front.peers.clear()
    front.headers.clear()
    yield front
    front.instead.clear()


@pytest.fixture
def url(served: tuple[Front, str], front: Front) -> str:
    """Where it listens."""
    return served[1]
