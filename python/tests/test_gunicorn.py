"""Gunicorn with --preload: the model is loaded once, and its workers are forked with it."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_network import IN, LARGE, SMALL, Network

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
if not Path("/proc/self/smaps_rollup").exists():
    pytest.skip("what processes share is read from Linux' /proc", allow_module_level=True)

HANG = 60
#: Where Uvicorn's worker class is: a package of its own; older releases had it themselves.
UVICORN = (
    "uvicorn_worker.UvicornWorker"
    if importlib.util.find_spec("uvicorn_worker")
    else "uvicorn.workers.UvicornWorker"
)
TOKEN = "s3cret"

#: The two applications. Each tells which process answers, and notes what it has begun to answer.
APP = """
import asyncio, os, uuid
from pathlib import Path
import modelserve as ms

HERE = Path(__file__).parent
manager = ms.ModelManager()
model = manager.load("mlp", HERE / os.environ["NETWORK"] / "model.safetensors")
# The parent has used all its threads before it forks.
row = [0.5] * {width}
model.predict(row)
asyncio.run(model.predict_async(row))
options = dict(default_model="mlp", management=True, token={token!r}, root=HERE)
inner_wsgi, inner_asgi = ms.wsgi(manager, **options), ms.asgi(manager, **options)


def begun():
    (HERE / "begun" / uuid.uuid4().hex).touch()


def wsgi(environ, start_response):
    if environ["PATH_INFO"].endswith(":predict"):
        begun()
    pid = ("x-worker", str(os.getpid()))
    return inner_wsgi(environ, lambda status, fields: start_response(status, [*fields, pid]))


async def asgi(scope, receive, send):
    if scope["type"] == "http" and scope["path"].endswith(":predict"):
        begun()

    async def told(message):
        if message["type"] == "http.response.start":
            pid = (b"x-worker", str(os.getpid()).encode())
            message = dict(message, headers=[*message["headers"], pid])
        await send(message)

    await inner_asgi(scope, receive, told)
"""


@dataclass
class Prepared:
    """A folder of the networks by name, and of the applications."""

    folder: Path
    networks: dict[str, Network]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("gunicorn")
    networks = {
        "large": Network.random(1, LARGE),
        "small": Network.random(2, SMALL),
        "other": Network.random(3, SMALL),
    }
    for name, network in networks.items():
        network.save(folder / name)
    (folder / "begun").mkdir()
    (folder / "preloaded.py").write_text(APP.format(width=IN, token=TOKEN))
    return Prepared(folder, networks)


def wait_until(what: str, met: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG
    while not met():
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.02)


@dataclass
class Answer:
    status: int
    worker: int
    version: int
    body: Any


class Gunicorn:
    """A Gunicorn with three workers, asked over a connection of its own each time."""

    def __init__(self, folder: Path, worker_class: str, app: str, network: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.log = folder / f"{worker_class}.log"
        command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "3", "-k", worker_class]
        command += ["--bind", f"127.0.0.1:{self.port}", "--chdir", str(folder), app]
        command += ["--worker-tmp-dir", "/dev/shm"] if Path("/dev/shm").is_dir() else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, "NETWORK": network}, stdout=log, stderr=log
            )

    def workers(self) -> set[int]:
        """The processes of the three workers, when they serve."""
        wait_until("an answer", self._serves)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_until("three workers", lambda: len(children.read_text().split()) == 3)
        return set(map(int, children.read_text().split()))

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.ask("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    def ask_all(self, workers: set[int], rows: np.ndarray) -> list[Answer]:
        """One answer of each worker: who has answered is halted until all have."""
        answers: list[Answer] = []
        try:
            for _ in workers:
                answers.append(self.predict(rows))
                os.kill(answers[-1].worker, signal.SIGSTOP)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        assert {answer.worker for answer in answers} == workers
        return answers

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        headers = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}
        try:
            connection.request(method, path, body and json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            return Answer(
                response.status,
                int(response.headers["x-worker"]),
                int(response.headers.get("x-modelserve-version", 0)),
                json.loads(text) if text else None,
            )
        finally:
            connection.close()

    def predict(self, rows: np.ndarray) -> Answer:
        return self.ask("POST", "/v1/models/mlp:predict", {"instances": rows.tolist()})

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(HANG)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(
    params=[
        ("sync", "preloaded:wsgi", "large"),
        ("gthread", "preloaded:wsgi", "small"),
        (UVICORN, "preloaded:asgi", "large"),
        ("asgi", "preloaded:asgi", "small"),
    ],
    ids=lambda given: given[0],
)
def served(prepared: Prepared, request: pytest.FixtureRequest) -> Iterator[tuple[Gunicorn, str]]:
    *how, network = request.param
    server = Gunicorn(prepared.folder, *how, network)
    try:
        yield server, network
    finally:
        server.stop()


def memory(pid: int, *fields: str) -> int:
    """Bytes of a process, summed over fields of its smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.split(":")[0] in fields)


def is_right(answer: Answer, rows: np.ndarray, networks: list[Network]) -> bool:
    expected = networks[answer.version - 1](rows)
    return np.allclose(answer.body["predictions"], expected, rtol=1e-3, atol=1e-4)


def check_shared(gunicorn: Gunicorn, workers: set[int], weights: int) -> None:
    """Every worker has run the model, and so has touched all its weights."""
    assert weights > 50_000_000
    private = {pid: memory(pid, "Private_Clean", "Private_Dirty") for pid in workers}
    shares = {pid: memory(pid, "Pss") for pid in (*workers, gunicorn.process.pid)}
    alone = memory(gunicorn.process.pid, "Rss")
    mib = 1 << 20
    print(
        f"weights {weights // mib} MiB, private {[b // mib for b in private.values()]}, "
        f"Pss {[b // mib for b in shares.values()]}, together {sum(shares.values()) // mib}, "
        f"the parent's Rss {alone // mib}"
    )
    assert memory(min(workers), "Rss") > weights
    # No worker has a copy of its own, whatever else of the interpreter it has changed.
    assert max(private.values()) < weights / 2
    # All four together are less than one copy more than the parent by itself.
    assert sum(shares.values()) < alone + weights


def test_forked_workers_share_the_weights_answer_right_and_stop_in_order(
    served: tuple[Gunicorn, str], prepared: Prepared
) -> None:
    gunicorn, network = served
    networks = [prepared.networks[network], prepared.networks["other"]]
    rows = np.random.default_rng(3).standard_normal((1, IN), np.float32)
    workers = gunicorn.workers()
    for answer in gunicorn.ask_all(workers, rows):
        assert answer.status == 200 and is_right(answer, rows, networks)
    if network == "large":
        check_shared(gunicorn, workers, networks[0].bytes)

    # A reload changes the worker that got it, and no other.
    reloaded = gunicorn.ask("POST", "/model/reload?model_path=other/model.safetensors")
    assert reloaded.status == 200, reloaded.body
    answers = gunicorn.ask_all(workers, rows)
    assert all(answer.status == 200 and is_right(answer, rows, networks) for answer in answers)
    versions = {answer.worker: answer.version for answer in answers}
    assert versions == {pid: 2 if pid == reloaded.worker else 1 for pid in workers}

    # What has been begun when the server is told to stop is answered.
    begun = prepared.folder / "begun"
    before = len(list(begun.iterdir()))
    many = np.random.default_rng(4).standard_normal((6, IN), np.float32)
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(gunicorn.predict, many) for _ in range(3)]
        wait_until("three requests under way", lambda: len(list(begun.iterdir())) == before + 3)
        gunicorn.process.send_signal(signal.SIGTERM)
        answers = [future.result(HANG) for future in asked]
    assert [answer.status for answer in answers] == [200] * 3
    assert all(is_right(answer, many, networks) for answer in answers)
    assert gunicorn.process.wait(HANG) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
