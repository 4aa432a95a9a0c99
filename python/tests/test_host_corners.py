"""What servers and clients do beside the ordinary: mounts, odd bodies, clients that leave."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests
from conftest import Case
from test_hosts import HANG, Server

import modelserve as ms
from modelserve.targets import asgi_target, wsgi_target


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wsgi_server(app: Any) -> Iterator[int]:
    """The WSGI server of the standard library, in a thread; its port."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(HANG)


@contextmanager
def asgi_server(app: Any) -> Iterator[Server]:
    server = Server(app)
    try:
        yield server
    finally:
        server.stop()


def raw(port: int, request: bytes, *, end: bool = True) -> bytes:
    """What a server answers to bytes that no client library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return answer


GOOD = json.dumps({"instances": [[5.9, 3.0, 5.1, 1.8]]}).encode()


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        # Uvicorn, without and with a root path; the prefix is only one at a slash.
        ({"path": "/v2/a b", "raw_path": b"/v2/a%20b"}, "/v2/a%20b"),
        ({"path": "/v2/a/b", "raw_path": b"/v2/a%2Fb"}, "/v2/a%2Fb"),
        ({"path": "/v2/a%2Fb", "raw_path": b"/v2/a%252Fb"}, "/v2/a%252Fb"),
        ({"path": "/ml/v2/a/b", "raw_path": b"/ml/v2/a%2Fb", "root_path": "/ml"}, "/v2/a%2Fb"),
        ({"path": "/ml", "raw_path": b"/ml", "root_path": "/ml/"}, "/"),
        ({"path": "/mlv2", "raw_path": b"/mlv2", "root_path": "/ml"}, "/mlv2"),
        # A prefix that is spelled otherwise; servers that took it off the path, or off both.
        ({"path": "/m l/v2", "raw_path": b"/m%20l/v2", "root_path": "/m l"}, "/v2"),
        ({"path": "/v1/models", "raw_path": b"/v1/v1/models", "root_path": "/v1"}, "/v1/models"),
        ({"path": "/v2/a/b", "raw_path": b"/v2/a%2Fb", "root_path": "/ml"}, "/v2/a%2Fb"),
        # No raw path, or one of something else; a query that was left on it.
        ({"path": "/v2/a b?", "raw_path": None}, "/v2/a%20b%3F"),
        ({"path": "/v2", "raw_path": b"/elsewhere"}, "/v2"),
        ({"path": "/v2", "raw_path": b"/v2?a=%20", "query_string": b"a=%20"}, "/v2?a=%20"),
        ({"path": "/v2/é", "raw_path": "/v2/é".encode()}, "/v2/%C3%A9"),
    ],
)
def test_targets_of_asgi(scope: dict[str, Any], target: str) -> None:
    assert asgi_target(scope) == target


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({"PATH_INFO": "/v2/a b"}, "/v2/a%20b"),
        (
            {"PATH_INFO": "/v2/a/b", "RAW_URI": "/v2/a%2Fb?x=1", "QUERY_STRING": "x=1"},
            "/v2/a%2Fb?x=1",
        ),
        ({"PATH_INFO": "/v2/a/b", "REQUEST_URI": "/m/v2/a%2Fb", "SCRIPT_NAME": "/m"}, "/v2/a%2Fb"),
        ({"PATH_INFO": "/v2/a/b", "RAW_URI": "/v2/a%2Fb", "SCRIPT_NAME": "/m"}, "/v2/a/b"),
        ({"PATH_INFO": "/v2", "RAW_URI": "http://host/v2"}, "/v2"),
        ({"PATH_INFO": "/v2/\xc3\xa9", "RAW_URI": "/v2/%C3%A9"}, "/v2/%C3%A9"),
        ({"PATH_INFO": "/v2/\xc3\xa9"}, "/v2/%C3%A9"),
        ({"PATH_INFO": "", "SCRIPT_NAME": "/m", "RAW_URI": "/m"}, "/"),
        ({}, "/"),
    ],
)
def test_targets_of_wsgi(environ: dict[str, Any], target: str) -> None:
    assert wsgi_target(environ) == target


@pytest.mark.parametrize(
    ("length", "body", "status"),
    [
        (b"Content-Length: %d" % len(GOOD), GOOD, 200),
        (b"Content-Length: abc", GOOD, 400),
        (b"Content-Length: -5", GOOD, 400),
        (b"Content-Length: +%d" % len(GOOD), GOOD, 400),
        # The client left before it had sent all.
        (b"Content-Length: 5000", GOOD, 400),
        (b"Content-Length: " + b"9" * 5000, GOOD, 413),
        # Nothing was sent, and nothing is waited for.
        (b"X-None: 1", b"", 400),
        # This server does not read chunks, and does not say where they end.
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", 411),
    ],
)
def test_bodies_of_wsgi(
    manager: ms.ModelManager, iris: Case, length: bytes, body: bytes, status: int
) -> None:
    manager.load("iris", iris.path)
    with wsgi_server(ms.wsgi(manager, max_body_bytes=1000)) as port:
        head = b"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n"
        answer = raw(port, head + body)
    if status == 413:
        # Longer than allowed and cut off as well: either is told.
        assert answer.split()[1] in (b"413", b"400"), answer[:200]
    else:
        assert int(answer.split()[1]) == status, answer[:200]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_long_body_of_wsgi_is_read_but_not_kept(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    with wsgi_server(ms.wsgi(manager, max_body_bytes=1000)) as port:
        url = f"http://127.0.0.1:{port}/v1/models/iris"
        assert requests.post(f"{url}:predict", data=b"[" * 500_000, timeout=HANG).status_code == 413
        assert requests.get(url, timeout=HANG).status_code == 200


def test_head_is_get_without_the_body(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    with wsgi_server(ms.wsgi(manager)) as port, asgi_server(ms.asgi(manager)) as server:
        for at in (port, server.port):
            answer = raw(at, b"HEAD /v2/health/ready HTTP/1.0\r\n\r\n", end=False)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b" 200 " in head and b"content-length: 14" in head.lower() and body == b""
            refused = raw(at, b"HEAD /predict HTTP/1.0\r\n\r\n", end=False)
            assert b" 405 " in refused.splitlines()[0]


def test_headers_that_come_twice(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    twice = b"Authorization: Bearer a\r\nAuthorization: Bearer s3cret\r\n"
    request = b"POST /v2/repository/models/iris/unload HTTP/1.0\r\n" + twice + b"\r\n"
    options: Any = {"management": True, "token": "s3cret"}
    with (
        wsgi_server(ms.wsgi(manager, **options)) as port,
        asgi_server(ms.asgi(manager, **options)) as server,
    ):
        for at in (port, server.port):
            assert raw(at, request, end=False).split()[1] in (b"401", b"403")
    assert manager.models() == ["iris"]


def test_a_mounted_application_loads_at_the_first_request(iris: Case, tmp_path: Path) -> None:
    starlette = pytest.importorskip("starlette.applications", reason="Starlette is not installed")
    from starlette.routing import Mount

    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.iris]\npath = "{iris.path}"\n')
    inner = ms.asgi(config)
    with pytest.raises(ms.NotReadyError, match=r"modelserve\.toml"):
        _ = inner.manager
    # Starlette does not pass the lifespan on to what is mounted.
    with asgi_server(starlette.Starlette(routes=[Mount("/models", inner)])) as server:
        answers: list[requests.Response] = []

        def ask() -> None:
            url = f"{server.url}/models/v1/models/iris:predict"
            answers.append(requests.post(url, data=GOOD, timeout=HANG))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert inner.manager.models() == ["iris"]
        crafted = requests.get(f"{server.url}/models/v1/models/iris%2Fversions%2F1", timeout=HANG)
        assert crafted.status_code in (400, 404)


def test_a_mounted_application_that_cannot_load_is_503_and_logs_why(
    iris: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starlette = pytest.importorskip("starlette.applications", reason="Starlette is not installed")
    from starlette.routing import Mount

    app = starlette.Starlette(routes=[Mount("/models", ms.asgi(tmp_path / "none.toml"))])
    with caplog.at_level(logging.ERROR, "modelserve"), asgi_server(app) as server:
        for _ in range(2):
            answer = requests.get(f"{server.url}/models/health", timeout=HANG)
            assert answer.status_code == 503 and "none.toml" not in answer.text
        # Mended while it runs: the next request finds it.
        (tmp_path / "none.toml").write_text(f'[models.iris]\npath = "{iris.path}"\n')
        assert requests.get(f"{server.url}/models/health", timeout=HANG).status_code == 200
    assert "none.toml" in caplog.text


def test_the_manager_of_a_file_is_dropped_with_its_server_and_made_again(
    iris: Case, tmp_path: Path
) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.iris]\npath = "{iris.path}"\n')
    app = ms.asgi(config)
    for _ in range(2):
        with asgi_server(app) as server:
            assert requests.get(f"{server.url}/health", timeout=HANG).status_code == 200
            assert app.manager.models() == ["iris"]
        with pytest.raises(ms.NotReadyError):
            _ = app.manager


def test_clients_that_leave_trouble_nobody(
    manager: ms.ModelManager, iris: Case, caplog: pytest.LogCaptureFixture
) -> None:
    manager.load("iris", iris.path)
    rows = json.dumps({"instances": iris.rows.tolist() * 100}).encode()
    head = b"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with caplog.at_level(logging.WARNING), asgi_server(ms.asgi(manager)) as server:
        for sent in (head % len(rows), head % len(rows) + rows[:1000], head % len(rows) + rows):
            for _ in range(5):
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=HANG)
                connection.sendall(sent)
                # A reset, not an orderly end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
        url = f"{server.url}/v1/models/iris:predict"
        assert requests.post(url, data=GOOD, timeout=HANG).status_code == 200
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text


def test_a_send_that_fails_and_a_task_that_is_cancelled_leave_nothing_under_way(
    manager: ms.ModelManager, iris: Case
) -> None:
    manager.load("iris", iris.path)
    app = ms.asgi(manager)
    scope = {"type": "http", "method": "GET", "path": "/health", "headers": []}

    async def run() -> list[str]:
        async def request() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def gone(_: Any) -> None:
            raise BrokenPipeError("what a server raises when the client has gone")

        await app(dict(scope), request, gone)

        async def never() -> dict[str, Any]:
            await asyncio.sleep(HANG)
            raise AssertionError("it was not cancelled")

        task = asyncio.create_task(app(dict(scope), never, gone))
        sent: list[str] = []
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            return {"type": next(messages)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        lifespan = asyncio.create_task(app({"type": "lifespan"}, receive, send))
        while len(sent) < 1:
            await asyncio.sleep(0)
        # The server's stop waits for what is under way, and ends with it.
        await asyncio.sleep(0.01)
        assert sent == ["lifespan.startup.complete"]
        task.cancel()
        await asyncio.wait_for(lifespan, HANG)
        return sent

    assert asyncio.run(run())[-1] == "lifespan.shutdown.complete"


def test_connections_of_other_kinds_are_refused(manager: ms.ModelManager) -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody is to be told")

    with pytest.raises(ms.UnsupportedError, match="carrier pigeon"):
        asyncio.run(ms.asgi(manager)({"type": "carrier pigeon"}, nothing, nothing))


def test_head_and_body_of_an_answer_are_sent_together(manager: ms.ModelManager) -> None:
    import uvicorn

    from modelserve.uvicorn_http import WholeAnswers

    class Noted(WholeAnswers):
        """Notes what reaches the transport of the event loop at once."""

        writes: list[list[bytes]] = []  # noqa: RUF012

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            inner = self.transport._transport  # type: ignore[attr-defined]

            class Noting:
                def __getattr__(self, name: str) -> Any:
                    return getattr(inner, name)

                def writelines(self, parts: list[bytes]) -> None:
                    Noted.writes.append([bytes(part) for part in parts])
                    inner.writelines(parts)

            self.transport._transport = Noting()  # type: ignore[attr-defined]

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(ms.asgi(manager), http=Noted, log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with requests.Session() as session:
            for path in ("/v2/health/live", "/metrics", "/v2"):
                assert session.get(f"{url}{path}", timeout=HANG).status_code == 200
    finally:
        server.should_exit = True
        thread.join(HANG)
    assert len(Noted.writes) == 3
    for head, *body in Noted.writes:
        assert head.startswith(b"HTTP/1.1 200") and body
