"""examples/nginx as it is shipped: a real nginx before three real workers, one of which dies."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from nginx_fleet import (
    EXAMPLES,
    HANG,
    MISSING,
    MODEL,
    Truth,
    example,
    first_worker_empty,
    log_behind,
    log_of,
    running,
    wait_until,
)

#: Most requests of one client: what bounds a test whose scenario goes wrong.
MOST = 4000

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.read()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running(tmp_path_factory.mktemp("nginx")) as fleet:
        yield fleet


def answered(url: str) -> int:
    """How many predictions a worker has answered."""
    text = requests.get(url, timeout=HANG).text
    counts = re.findall(r'^modelserve_requests_total\{.*outcome="ok"\} (\d+)$', text, re.MULTILINE)
    return sum(map(int, counts))


def publish(fleet: Any, version: int) -> None:
    """As docs/repository.md says: written beside, then renamed."""
    models = fleet.folder / "models" / MODEL
    written = models / f"{version}.tmp"
    shutil.copytree(EXAMPLES / "data" / "models" / MODEL / str((version + 1) % 2 + 1), written)
    written.rename(models / str(version))


def serves(fleet: Any, index: int, version: int) -> bool:
    index_url = f"{fleet.worker_url(index)}/v2/models/{MODEL}/versions/{version}/ready"
    return requests.get(index_url, timeout=HANG).status_code == 200


@dataclass
class Load:
    """Clients that ask without pause until they are stopped, and check every answer."""

    url: str
    truth: Truth
    clients: int = 4
    done: int = 0
    failed: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [
            threading.Thread(target=self._client, args=(n,)) for n in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(HANG)
        assert not any(thread.is_alive() for thread in self._threads)

    def _client(self, number: int) -> None:
        # Small requests and large ones, for several are to be under way when a worker dies.
        size = 1 if number % 2 else 100
        with requests.Session() as session:
            for k in range(MOST):
                if self._stop.is_set():
                    return
                first = (k * 7 + number) % (len(self.truth.rows) - size + 1)
                fault, version = self._ask(session, first, size)
                with self._lock:
                    self.done += 1
                    self.versions.add(version)
                    if fault:
                        self.failed.append(fault)

    def _ask(self, session: requests.Session, first: int, size: int) -> tuple[str | None, int]:
        body = {"instances": self.truth.rows[first : first + size]}
        try:
            response = session.post(
                f"{self.url}/v1/models/{MODEL}:predict", json=body, timeout=HANG
            )
            version = int(response.headers.get("x-modelserve-version", 0))
            if response.status_code != 200:
                return f"{response.status_code}: {response.text[:200]}", version
            got = [row["probabilities"] for row in response.json()["predictions"]]
        except (requests.RequestException, ValueError, KeyError) as e:
            return repr(e), 0
        if len(got) != size or not self.truth.is_right(version, first, got):
            return f"a wrong answer of version {version}", version
        return None, version


def test_killed_stopped_and_reloaded_workers_fail_no_request(fleet: Any, truth: Truth) -> None:
    start = len(log_of(fleet))
    with Load(fleet.url, truth) as load:

        def further(count: int) -> None:
            seen = load.done
            wait_until("further answers", lambda: load.done >= seen + count)

        further(100)
        newest = 2
        for round_, victim in enumerate((0, 2, 0)):
            fleet.stop_worker(victim, signal.SIGKILL)
            for _ in range(2):
                newest += 1
                publish(fleet, newest)
                wait_until(f"version {newest}", lambda: newest in load.versions)  # noqa: B023
            further(50)
            fleet.start_worker(victim)
            fleet.wait_for_worker(victim)
            if round_ == 0:
                # An orderly stop, as a deployment does it.
                fleet.stop_worker(1)
                further(50)
                fleet.start_worker(1)
                fleet.wait_for_worker(1)
        for index in range(3):
            wait_until("all serve the newest", lambda: serves(fleet, index, newest))  # noqa: B023
        before = answered(f"{fleet.worker_url(0)}/metrics")
        wait_until(
            "answers of the worker that came back",
            lambda: answered(f"{fleet.worker_url(0)}/metrics") >= before + 20,
        )
    assert load.failed == []
    assert load.versions >= set(range(2, newest + 1))
    log = log_behind(fleet, start, load.done)
    predictions = [entry for entry in log if ":predict" in entry["request"]]
    assert len(predictions) == load.done and {e["status"] for e in predictions} == {200}
    # The deaths were noticed: there were requests that another worker had to answer.
    assert any("," in entry["upstream"] for entry in predictions)


def test_what_one_worker_has_not_loaded_another_answers(
    fleet: Any, truth: Truth, tmp_path: Path
) -> None:
    with first_worker_empty(fleet, tmp_path) as empty:
        row = truth.rows[0]
        asked: list[tuple[str, Any, int]] = [
            ("/predict", {"features": row}, 503),
            (f"/v1/models/{MODEL}:predict", {"instances": [row]}, 404),
            (
                f"/v2/models/{MODEL}/infer",
                {"inputs": [{"name": "X", "shape": [1, 30], "datatype": "FP32", "data": row}]},
                404,
            ),
        ]
        for path, body, status in asked:
            assert requests.post(f"{empty}{path}", json=body, timeout=HANG).status_code == status
            start = len(log_of(fleet))
            for _ in range(9):
                answer = requests.post(f"{fleet.url}{path}", json=body, timeout=HANG)
                assert answer.status_code == 200, answer.text
            entries = log_behind(fleet, start, 9)
            retried = [e for e in entries if e["upstream_status"] == f"{status}, 200"]
            assert retried, entries
            assert all(e["upstream"].startswith(empty.removeprefix("http://")) for e in retried)
        # Nor does the worker count as broken for what it cannot answer.
        assert answered(f"{fleet.url}/metrics/1") == 0
        assert requests.get(f"{fleet.url}/health", timeout=HANG).status_code == 200


def test_what_no_worker_can_answer_says_so_and_harms_no_other_request(
    fleet: Any, truth: Truth
) -> None:
    start = len(log_of(fleet))
    for _ in range(5):
        answer = requests.get(f"{fleet.url}/v1/models/nobody", timeout=HANG)
        assert answer.status_code == 404 and "nobody" in answer.json()["error"]
    good = requests.post(f"{fleet.url}/predict", json={"features": truth.rows[0]}, timeout=HANG)
    assert good.status_code == 200
    entries = log_behind(fleet, start, 6)
    assert {entry["upstream_status"] for entry in entries} == {"404, 404, 404", "200"}


def test_a_model_that_is_ready_nowhere_takes_no_worker_from_the_others(
    fleet: Any, truth: Truth, tmp_path: Path
) -> None:
    config = (fleet.folder / "modelserve.toml").read_text()
    config = config.replace('"models"', json.dumps(str(fleet.folder / "models")))
    (tmp_path / "modelserve.toml").write_text(config.replace(MODEL, "nobody"))
    try:
        for index in range(3):
            fleet.stop_worker(index)
            fleet.start_worker(index, tmp_path / "modelserve.toml")
        for index in range(3):
            live = f"{fleet.worker_url(index)}/v2/health/live"
            wait_until("the worker", lambda: example.answers(live))  # noqa: B023
        start = len(log_of(fleet))
        for _ in range(5):
            body = {"features": truth.rows[0]}
            answer = requests.post(f"{fleet.url}/predict", json=body, timeout=HANG)
            assert answer.status_code == 503 and answer.json() == {"detail": "Model not loaded"}
            other = f"{fleet.url}/v1/models/{MODEL}:predict"
            answer = requests.post(other, json={"instances": [truth.rows[0]]}, timeout=HANG)
            assert answer.status_code == 200, answer.text
        entries = log_behind(fleet, start, 10)
        assert {entry["upstream_status"] for entry in entries} == {"503, 503, 503", "200"}
    finally:
        for index in range(3):
            fleet.stop_worker(index)
            fleet.start_worker(index)
        for index in range(3):
            fleet.wait_for_worker(index)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", '{"features": [1.0]}'),
        ("/predict", "{"),
        (f"/v1/models/{MODEL}:predict", '{"instances": [[1, 2]]}'),
        (f"/v2/models/{MODEL}/infer", '{"inputs": []}'),
    ],
)
def test_bad_input_is_seen_by_one_worker(fleet: Any, path: str, body: str) -> None:
    start = len(log_of(fleet))
    for _ in range(4):
        answer = requests.post(f"{fleet.url}{path}", data=body, timeout=HANG)
        assert answer.status_code == 400 and answer.headers["Content-Type"] == "application/json"
    for entry in log_behind(fleet, start, 4):
        assert entry["upstream_status"] == "400" and "," not in entry["upstream"], entry


def test_long_bodies(fleet: Any, truth: Truth) -> None:
    # Beyond what nginx keeps in memory: its own files must be its to write.
    rows = truth.rows * 50
    answer = requests.post(
        f"{fleet.url}/v1/models/{MODEL}:predict", json={"instances": rows}, timeout=HANG
    )
    assert int(answer.request.headers["Content-Length"]) > 1 << 20
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == len(rows)
    # Beyond what any worker takes: refused at the announcement.
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=HANG)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str((64 << 20) + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413 and "64 MiB" in json.loads(response.read())["error"]
    connection.close()


def test_models_are_not_changed_through_the_balancer_and_metrics_are_each_worker_s(
    fleet: Any, truth: Truth
) -> None:
    for path in ("/model/reload", f"/v2/repository/models/{MODEL}/unload"):
        assert requests.post(f"{fleet.url}{path}", timeout=HANG).status_code == 403
    index = requests.post(f"{fleet.url}/v2/repository/index", timeout=HANG)
    assert {model["name"] for model in index.json()} == {MODEL}
    before = [answered(f"{fleet.url}/metrics/{n}") for n in (1, 2, 3)]
    for _ in range(16):
        requests.post(f"{fleet.url}/predict", json={"features": truth.rows[0]}, timeout=HANG)
    after = [answered(f"{fleet.url}/metrics/{n}") for n in (1, 2, 3)]
    assert sum(after) - sum(before) == 16
    assert all(now > then for now, then in zip(after, before, strict=True))


def test_the_program_brings_back_what_died_and_ends_with_all_of_it() -> None:
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "nginx" / "run.py"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout is not None
    try:
        line = ""
        while "Ctrl-C" not in line:
            line = program.stdout.readline()
            assert line, "it ended before it had started"
            if "worker 1" in line:
                found = re.search(r"(http://[\d.:]+) \(process (\d+)\)", line)
                assert found is not None
                worker, pid = found[1], int(found[2])
            elif line.startswith("http://"):
                url = line.split()[0]
        os.kill(pid, signal.SIGKILL)
        assert "started again" in program.stdout.readline()
        wait_until("the worker again", lambda: example.answers(f"{worker}/health"))
        assert example.answers(f"{url}/health")
        program.send_signal(signal.SIGINT)
        # nginx and the workers take 30 s each at most, then what is left is closed.
        assert program.wait(3 * HANG) == 0
        assert not example.answers(f"{worker}/health") and not example.answers(f"{url}/health")
    finally:
        if program.poll() is None:
            program.terminate()
            program.wait(HANG)
