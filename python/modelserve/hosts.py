"""A manager behind any Python web server: a bare ASGI and a bare WSGI application.

Both only carry bytes: reading requests, running models and writing answers is done by the compiled
module, without the interpreter lock. What is spoken stands in docs/http.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from ._native import Http, ModelManager
from .errors import NotReadyError, UnsupportedError
from .targets import asgi_target, wsgi_target

if TYPE_CHECKING:
    from ._native import _HttpOptions

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# Status, headers, body.
_Response: TypeAlias = tuple[int, list[tuple[str, str]], bytes]

_LOG = logging.getLogger("modelserve")
#: How much is read at once of what is not kept.
_PIECE = 1 << 16


class AsgiApplication:
    """An ASGI 3 application (Uvicorn, Hypercorn, Granian; or mounted in another application).

    With a path it makes its manager from that file when the server starts, or, where nobody says
    that it starts (a mounted application, a server without the lifespan protocol), at the first
    request. It drops that manager when the server has stopped. At the end it waits for the
    requests that are under way.
    """

    def __init__(
        self, manager: ModelManager | str | os.PathLike[str], **options: Unpack[_HttpOptions]
    ) -> None:
        self._source = None if isinstance(manager, ModelManager) else Path(manager)
        self._options = options
        self._manager: ModelManager | None = None
        self._http: Http | None = None
        self._loading: asyncio.Future[ModelManager] | None = None
        self._ended = False
        self._under_way = 0
        self._idle: asyncio.Event | None = None
        if isinstance(manager, ModelManager):
            self._serve(manager)

    @property
    def manager(self) -> ModelManager:
        """The manager whose models are served; `NotReadyError` before it is made from its file."""
        if self._manager is None:
            message = f"the manager of {self._source} is made when the server starts"
            raise NotReadyError(message)
        return self._manager

    def _serve(self, manager: ModelManager) -> None:
        self._manager = manager
        self._http = manager.http(**self._options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection of the server."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            raise UnsupportedError(f"a connection of type {scope['type']!r}; http is served")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._ended = False
                try:
                    await self._load()
                except Exception as e:
                    await send({"type": "lifespan.startup.failed", "message": str(e)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                while self._under_way:
                    self._idle = asyncio.Event()
                    await self._idle.wait()
                if self._source is not None:
                    self._manager = self._http = self._loading = None
                    self._ended = True
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _load(self) -> None:
        """Makes the manager from its file, once however many ask."""
        if self._http is not None or self._source is None:
            return
        if self._loading is None:
            # Loading takes as long as it takes: not on the event loop.
            made = asyncio.to_thread(ModelManager.from_config, self._source)
            self._loading = asyncio.ensure_future(made)
        loading = self._loading
        try:
            # A client that leaves does not stop what others wait for.
            manager = await asyncio.shield(loading)
        except Exception:
            # What is mended is found by the next request.
            if self._loading is loading:
                self._loading = None
            raise
        if self._http is None:
            self._serve(manager)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._under_way += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._under_way -= 1
            if not self._under_way and self._idle is not None:
                self._idle.set()

    async def _started(self) -> Http | None:
        """What answers requests; None where there is nothing (any more) that could."""
        if self._http is None and not self._ended:
            try:
                await self._load()
            except Exception as e:
                _LOG.error("cannot serve %s: %s", self._source, e)
        return self._http

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = await self._started()
        if http is None:
            status, headers, body = _refusal(503, "not started")
        else:
            received = await _body(receive, http.max_body_bytes)
            if received is None:
                return
            status, headers, body = await http.handle_async(
                as_get(scope["method"]), asgi_target(scope), list(scope["headers"]), received
            )
        fields = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers]
        fields.append((b"content-length", str(len(body)).encode()))
        sent = b"" if scope["method"] == "HEAD" else body
        # What servers raise when the client has gone: there is nobody to tell.
        with suppress(OSError):
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": sent})


async def _body(receive: Receive, most: int) -> bytes | None:
    """The whole body; cut behind `most` bytes, which is refused then. None: nobody waits."""
    first = await receive()
    if first["type"] != "http.request":
        return None
    part: bytes = first.get("body", b"")
    if not first.get("more_body"):
        return part
    parts, size = [part], len(part)
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part, more = message.get("body", b""), message.get("more_body", False)
        # What is too long is read to its end, or the client would not read why, but not kept.
        if size <= most:
            parts.append(part)
        size += len(part)
    return b"".join(parts)


def as_get(method: str) -> str:
    """HEAD is answered as GET; its answer is sent without the body."""
    return "GET" if method == "HEAD" else method


def _refusal(status: int, message: str) -> _Response:
    """An answer of the host itself."""
    body = json.dumps({"error": message}).encode()
    return status, [("Content-Type", "application/json")], body


StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]


class WsgiApplication:
    """A WSGI application (PEP 3333: Gunicorn, uWSGI; or mounted beside a Flask or Django one)."""

    def __init__(self, manager: ModelManager, **options: Unpack[_HttpOptions]) -> None:
        self.manager = manager
        self._http = manager.http(**options)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request in the calling thread."""
        method: str = environ["REQUEST_METHOD"]
        status, fields, answer = self._answer(method, environ)
        fields.append(("Content-Length", str(len(answer))))
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        start_response(f"{status} {phrase}", fields)
        return [b"" if method == "HEAD" else answer]

    def _answer(self, method: str, environ: dict[str, Any]) -> _Response:
        body = _input(environ, self._http.max_body_bytes)
        if not isinstance(body, bytes):
            return body
        headers = [
            (key[5:].replace("_", "-"), value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        ]
        if environ.get("CONTENT_TYPE"):
            headers.append(("Content-Type", environ["CONTENT_TYPE"]))
        return self._http.handle(as_get(method), wsgi_target(environ), headers, body)


def _input(environ: dict[str, Any], most: int) -> bytes | _Response:
    """The whole body; cut behind `most` bytes, which is refused then. Or why it cannot be read."""
    stated: str = environ.get("CONTENT_LENGTH") or ""
    if stated and not (stated.isascii() and stated.isdigit()):
        return _refusal(400, f"Content-Length: expected a number of bytes, got {stated[:32]!r}")
    # Cut, since a number may be written with more digits than are read.
    length = int(stated[:20]) if stated else None
    # The server ends the input where the body ends, chunks or not.
    terminated = bool(environ.get("wsgi.input_terminated"))
    if length is None and not terminated:
        if environ.get("HTTP_TRANSFER_ENCODING"):
            # Nothing says where such a body ends, and to read on may wait for ever.
            return _refusal(411, "a body without Content-Length, which this server does not take")
        length = 0
    parts: list[bytes] = []
    size = 0
    while terminated or length is None or size < length:
        # Beyond the limit it is read to its end, or the client would not read why, but not kept.
        room = most + 1 - size if size <= most else _PIECE
        wanted = room if terminated or length is None else min(room, length - size)
        part: bytes = environ["wsgi.input"].read(wanted)
        if not part:
            break
        if size <= most:
            parts.append(part)
        size += len(part)
    if length is not None and size < length:
        return _refusal(400, f"a body of {size} bytes, where Content-Length says {length}")
    return b"".join(parts)


def asgi(
    manager: ModelManager | str | os.PathLike[str], **options: Unpack[_HttpOptions]
) -> AsgiApplication:
    """An ASGI application of `manager`, or of the manager that a configuration file describes.

    `options` are those of `ModelManager.http`.

    >>> app = asgi(ModelManager())    # uvicorn module:app
    """
    return AsgiApplication(manager, **options)


def wsgi(manager: ModelManager, **options: Unpack[_HttpOptions]) -> WsgiApplication:
    """A WSGI application of `manager`; `options` are those of `ModelManager.http`."""
    return WsgiApplication(manager, **options)
