"""The clients, against real servers that refuse, are slow, break, or are not there."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from conftest import Case, case
from http_front import HANG, Front, listening

import modelserve as ms
from modelserve.client import (
    Answer,
    AsyncClient,
    Client,
    Retry,
)
from modelserve.client.retry import Deadline

#: Seconds for what is given up: far less than what would be waited for otherwise.
SOON = 0.3
PROTOCOLS = ["v1", "v2"]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Front, str]]:
    manager = ms.ModelManager()
    manager.load("iris", case("iris_v1").path)
    front = Front(ms.asgi(manager))
    with listening(front) as url:
        yield front, url


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_have_the_classes_of_the_library(url: str, front: Front, protocol: Any) -> None:
    with Client(url, protocol=protocol, retry=Retry(attempts=1)) as client:
        row = [5.9, 3.0, 5.1, 1.8]
        client.predict("iris", row)
        with pytest.raises(ms.NotFoundError, match="nobody") as caught:
            client.predict("nobody", row)
        assert caught.value.model == "nobody"
        with pytest.raises(ms.InvalidInputError, match="expected float32"):
            client.predict("iris", [1.0])
        for status, error in (
            (401, ms.PermissionDeniedError),
            (403, ms.PermissionDeniedError),
            (409, ms.AlreadyExistsError),
            (413, ms.LimitExceededError),
            (418, ms.InvalidArgumentError),
            (429, ms.OverloadedError),
            (499, ms.CancelledError),
            (500, ms.ExecutionError),
            (501, ms.UnsupportedError),
            (502, ms.NotReadyError),
            (503, ms.NotReadyError),
            (504, ms.DeadlineExceededError),
            (599, ms.NotReadyError),
        ):
            front.instead = [(status, {})]
            with pytest.raises(error, match=rf"not now \(HTTP status {status}\)") as caught:
                client.predict("iris", row)
            assert caught.value.model == "iris"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_did_not_run_is_tried_again_and_nothing_else(
    url: str, front: Front, iris: Case, protocol: Any
) -> None:
    retry = Retry(attempts=3, first=0.001, most=0.002)
    with Client(url, protocol=protocol, retry=retry) as client:
        client.predict_batch("iris", iris.rows)
        for statuses in ([429, 503], [502], [503, 502]):
            front.bodies.clear()
            front.instead = [(status, {"retry-after": "0"}) for status in statuses]
            answer = client.predict_batch("iris", iris.rows)
            assert answer.predictions.tolist() == iris.expected["labels"]
            assert answer.attempts == len(front.bodies) == len(statuses) + 1
        front.bodies.clear()
        front.instead = [(503, {})] * 3
        with pytest.raises(ms.NotReadyError):
            client.predict_batch("iris", iris.rows)
        assert len(front.bodies) == 3
        for status in (400, 404, 500, 501, 504):
            front.bodies.clear()
            front.instead = [(status, {"retry-after": "0"})]
            with pytest.raises(ms.ModelServeError):
                client.predict_batch("iris", iris.rows)
            # Without the questions what the model's input is.
            assert len([body for body in front.bodies if body]) == 1


def test_a_wait_that_does_not_fit_into_the_deadline_is_not_begun(url: str, front: Front) -> None:
    with Client(url, timeout=5) as client:
        client.predict("iris", [1, 2, 3, 4])
        front.bodies.clear()
        for header in ("8", "Fri, 31 Dec 2999 23:59:59 GMT"):
            front.instead = [(429, {"retry-after": header})]
            with pytest.raises(ms.OverloadedError, match="not now"):
                client.predict("iris", [1, 2, 3, 4])
        assert len(front.bodies) == 2


def test_waits_are_random_bounded_and_the_servers_where_it_says() -> None:
    retry = Retry(attempts=9, first=0.1, most=1.0)
    for failed, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (5000, 1.0)):
        waits = [retry.wait(failed, {}) for _ in range(200)]
        assert 0 <= min(waits) < longest / 4 and longest * 3 / 4 < max(waits) <= longest
    assert retry.wait(1, {"retry-after": "7"}) == 7
    assert retry.wait(1, {"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    assert retry.wait(1, {"retry-after": "soon"}) <= 0.1
    for bad in ({"attempts": 0}, {"first": 3}, {"first": -1}):
        with pytest.raises(ms.InvalidArgumentError):
            Retry(**bad)
    with pytest.raises(ms.InvalidArgumentError, match="timeout = 0"):
        Deadline(0)


def test_a_server_that_comes_later_is_found(iris: Case) -> None:
    port = socket.socket()
    port.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{port.getsockname()[1]}"
    with Client(address, retry=Retry(attempts=2, first=0.001)) as client:
        with pytest.raises(ms.NotReadyError, match="no connection to http"):
            client.predict_batch("iris", iris.rows)
        assert not client.is_ready()
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    found: list[Answer] = []
    tried = threading.Event()

    class Watched(Retry):
        def wait(self, failed: int, headers: Mapping[str, str]) -> float:
            tried.set()
            return super().wait(failed, headers)

    def ask() -> None:
        with Client(address, retry=Watched(attempts=10_000, first=0.02, most=0.02)) as client:
            found.append(client.infer("iris", {"X": iris.rows}, timeout=HANG))

    thread = threading.Thread(target=ask)
    thread.start()
    assert tried.wait(HANG)
    port.listen()
    with listening(ms.asgi(manager), port):
        thread.join(HANG)
    assert found[0].predictions.tolist() == iris.expected["labels"] and found[0].attempts > 1


def test_a_request_that_was_sent_and_not_answered_is_not_sent_again() -> None:
    accepted = []

    def hang_up() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            accepted.append(connection.recv(65536))
            connection.close()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        with (
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", protocol="v1") as client,
            pytest.raises(ms.NotReadyError, match="broke before the answer"),
        ):
            client.predict("iris", [1, 2, 3, 4])
        assert len(accepted) == 1
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(HANG)


async def _silence(send: Any) -> None:
    await asyncio.sleep(HANG)


async def _drops(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(HANG * 20):
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("stuck", [_silence, _drops])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_deadline_ends_a_call_whatever_the_server_does(
    url: str, front: Front, stuck: Any, protocol: Any
) -> None:
    began = time.monotonic()
    with Client(url, protocol=protocol) as client:
        client.predict("iris", [1, 2, 3, 4])
        front.instead = [stuck]
        with pytest.raises(ms.DeadlineExceededError, match=r"within 0\.3 s"):
            client.predict("iris", [1, 2, 3, 4], timeout=SOON)
        # The client goes on.
        assert client.predict("iris", [1, 2, 3, 4]).prediction == 2

    async def ask() -> None:
        async with AsyncClient(url, protocol=protocol, timeout=SOON) as client:
            await client.is_ready("iris")
            front.instead = [stuck]
            with pytest.raises(ms.DeadlineExceededError):
                await client.infer("iris", {"X": np.zeros((1, 4), np.float32)})

    asyncio.run(ask())
    assert time.monotonic() - began < HANG / 2


def test_the_server_is_told_how_long_anybody_waits(url: str, front: Front) -> None:
    with Client(url, retry=Retry(first=0.05, most=0.05)) as client:
        client.predict("iris", [1, 2, 3, 4])
        front.bodies.clear()
        front.instead = [(503, {"retry-after": "1"})]
        client.predict("iris", [1, 2, 3, 4], timeout=20)
        first, second = (
            json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]["parameters"]["timeout"]
            for body in front.bodies
        )
        # What the first try and the wait took is gone.
        assert 0 < second <= first - 1_000_000 < 19_000_000


def test_a_cancelled_task_leaves_the_client_whole(url: str, front: Front) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client:
            await client.predict("iris", [1, 2, 3, 4])
            front.instead = [_silence]
            task = asyncio.create_task(client.predict("iris", [1, 2, 3, 4]))
            while front.instead:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.predict("iris", [1, 2, 3, 4])).prediction == 2

    asyncio.run(ask())
