"""A real server whose requests a test sees, and whose answers it can replace."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

#: Seconds after which something hangs.
HANG = 60


class Front:
    """An ASGI application before another one: notes requests, and answers the first ones itself."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.bodies: list[bytes] = []
        self.peers: set[Any] = set()
        self.headers: list[dict[str, str]] = []
        #: What to answer instead, in order: a status and headers, or something to do.
        self.instead: list[tuple[int, dict[str, str]] | Callable[[Any], Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.peers.add(tuple(scope["client"]))
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        if self.instead:
            answer = self.instead.pop(0)
            if callable(answer):
                return await answer(send)
            status, headers = answer
            fields = [(k.encode(), v.encode()) for k, v in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": fields})
            return await send({"type": "http.response.body", "body": b'{"error": "not now"}'})

        async def again() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self.app(scope, again, send)


@contextmanager
def listening(app: Any, on: socket.socket | None = None) -> Iterator[str]:
    """Uvicorn on a port of its own, in a thread."""
    on = on or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_keep_alive=5))
    thread = threading.Thread(target=server.run, args=([on],))
    thread.start()
    try:
        end = time.monotonic() + HANG
        while not server.started:
            assert thread.is_alive() and time.monotonic() < end, "the server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{on.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(HANG)
        on.close()
        assert not thread.is_alive()
