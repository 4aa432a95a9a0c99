"""A server that leaves without losing a request."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from ...hosts import Receive, Scope, Send, asgi
from ...logs import enable_logging
from ...uvicorn_http import WholeAnswers
from .settings import Settings
from .source import Source

#: What balancers ask to learn whether to send more.
_READINESS = ("/health", "/v2/health/ready")


class Draining:
    """An application that can be told that its server is about to leave.

    From then on it answers readiness with 503, so that balancers send no more, and closes each
    connection with its answer: a client that would send its next request on a connection at the
    moment it is closed would not know whether that request was read.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if not self.draining or scope["type"] != "http":
            await self._app(scope, receive, self._closing(send))
        elif scope["path"] in _READINESS:
            body = b'{"ready": false, "status": "draining"}'
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._app(scope, receive, self._closing(send))

    def _closing(self, send: Send) -> Send:
        async def sent(message: Any) -> None:
            # Asked when the answer is there: the request may have come before the signal.
            if self.draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        return sent


class _Server(uvicorn.Server):
    """Goes on accepting for a while after SIGTERM before it closes its socket."""

    def __init__(
        self, config: uvicorn.Config, app: Draining, drain: float, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._app, self._drain, self._ready = app, drain, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Nobody is sent to a server that has been told to leave meanwhile.
        if self.started and not self.should_exit:
            self._ready()

    def leave(self, number: int, _frame: FrameType | None) -> None:
        """Takes a signal outside Uvicorn's own care: before it begins to listen to signals, and
        when it raises them again after it has drained, which must not end the process by them.
        """
        self._captured_signals.append(number)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.draining = True
        # Ctrl-C is somebody who waits; SIGTERM is a balancer that has yet to learn of it.
        if signal.SIGTERM in self._captured_signals:
            loop = asyncio.get_running_loop()
            end = loop.time() + self._drain
            while loop.time() < end and not self.force_exit:
                await asyncio.sleep(min(0.05, self._drain))
        await super().shutdown(sockets)


def serve(
    settings: Settings, source: Source, listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way and returns.

    `ready` is called when requests are answered. A second SIGINT ends it at once.
    """
    log_to_stderr(settings.log_level)
    app = Draining(asgi(source.manager, **settings.http))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=settings.access_log,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        server_header=False,
        # A worker that is killed leaves no half of an answer to a proxy in front of it.
        http=WholeAnswers,
    )
    # What is there now stays to the end: the collector need not walk it again and again, which
    # stops a worker for milliseconds.
    gc.collect()
    gc.freeze()
    server = _Server(config, app, settings.drain, ready)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.leave)
    server.run([listener])


def log_to_stderr(level: str) -> None:
    """The library's records and Uvicorn's, on standard error."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Starting and ending are told by the command itself.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    enable_logging(level.upper())
