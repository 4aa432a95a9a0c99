"""A manager behind any Python web server: a bare ASGI and a bare WSGI application.

Both only carry bytes: reading requests, running models and writing answers is done by the compiled
module, without the interpreter lock. What is spoken stands in docs/http.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack
from urllib.parse import quote

from ._native import Http, ModelManager

if TYPE_CHECKING:
    from ._native import _HttpOptions

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: What a target may hold as it is (RFC 3986, pchar and "/"); "%" is escaped.
SAFE_IN_PATH = "/:@!$&'()*+,;=~-._"


class AsgiApplication:
    """An ASGI 3 application (Uvicorn, Hypercorn, Granian; or mounted in another application).

    With a path it makes its manager from that file when the server starts, and drops it when the
    server has stopped. At the end it waits for the requests that are under way.
    """

    def __init__(
        self, manager: ModelManager | str | os.PathLike[str], **options: Unpack[_HttpOptions]
    ) -> None:
        self._source = None if isinstance(manager, ModelManager) else Path(manager)
        self._options = options
        self._http: Http | None = None
        self._under_way = 0
        self._idle = asyncio.Event()
        if isinstance(manager, ModelManager):
            self._serve(manager)

    def _serve(self, manager: ModelManager) -> None:
        self.manager = manager
        self._http = manager.http(**self._options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection of the server."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    if self._source is not None:
                        # Loading takes as long as it takes: not on the event loop.
                        manager = await asyncio.to_thread(ModelManager.from_config, self._source)
                        self._serve(manager)
                except Exception as e:
                    await send({"type": "lifespan.startup.failed", "message": str(e)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                while self._under_way:
                    self._idle.clear()
                    await self._idle.wait()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._under_way += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._http is None:
            # A server without the lifespan protocol, or one that asks before it has started.
            status, headers = 503, [("Content-Type", "application/json")]
            body = b'{"error": "not started"}'
        else:
            received = await _body(receive, self._http.max_body_bytes)
            if received is None:
                return
            status, headers, body = await self._http.handle_async(
                scope["method"], _target(scope), list(scope["headers"]), received
            )
        fields = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers]
        fields.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        sent = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": sent})


async def _body(receive: Receive, most: int) -> bytes | None:
    """The whole body; cut behind `most` bytes, which is refused then. None: nobody waits."""
    first = await receive()
    if first["type"] != "http.request":
        return None
    begin: bytes = first.get("body", b"")
    if not first.get("more_body"):
        return begin
    parts, size = [begin], len(begin)
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


def _target(scope: Scope) -> str:
    """The path and query as they were sent, below where the application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    raw = scope.get("raw_path")
    if root and path.startswith(root):
        target = quote(path[len(root) :], safe=SAFE_IN_PATH)
    elif raw:
        # Some servers leave the query on it.
        target = raw.partition(b"?")[0].decode("latin-1")
    else:
        target = quote(path, safe=SAFE_IN_PATH)
    query: bytes = scope.get("query_string", b"")
    return f"{target}?{query.decode('latin-1')}" if query else target


StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]


class WsgiApplication:
    """A WSGI application (PEP 3333: Gunicorn, uWSGI; or mounted beside a Flask or Django one)."""

    def __init__(self, manager: ModelManager, **options: Unpack[_HttpOptions]) -> None:
        self.manager = manager
        self._http = manager.http(**options)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request in the calling thread."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(min(length, self._http.max_body_bytes + 1))
        path = environ.get("PATH_INFO", "").encode("latin-1")
        target = quote(path, safe=SAFE_IN_PATH)
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
        headers = [
            (key[5:].replace("_", "-"), value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        ]
        if environ.get("CONTENT_TYPE"):
            headers.append(("Content-Type", environ["CONTENT_TYPE"]))
        method = environ["REQUEST_METHOD"]
        status, fields, answer = self._http.handle(method, target, headers, body)
        fields.append(("Content-Length", str(len(answer))))
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        start_response(f"{status} {phrase}", fields)
        return [b"" if method == "HEAD" else answer]


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
