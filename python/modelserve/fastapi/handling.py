"""Requests of the protocols: bytes to the compiled module, and its bytes back.

Nothing is parsed here. Measured (`benches/fastapi_routes.py`), a batch of 1,000 rows is answered
several times as often this way as by routes that read bodies into pydantic models and write answers
from them; those do it on the event loop, with the interpreter lock.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from modelserve import Http, ModelManager
from modelserve.hosts import as_get
from modelserve.targets import SAFE_IN_PATH

from .lifespan import find_service, require_service

if TYPE_CHECKING:
    from modelserve._native import _HttpOptions

#: The parameter that holds the rest of a path.
REST = "modelserve_path"


class Handler:
    """Answers requests with the manager that it was given, else with the one in service."""

    def __init__(self, manager: ModelManager | None, options: _HttpOptions) -> None:
        # Said, not left to the configuration file: the document shows what there is.
        self._options: _HttpOptions = {**options, "management": bool(options.get("management"))}
        self._own = manager is not None
        # Made without a manager, too: options that there are not are told now.
        self._manager = ModelManager() if manager is None else manager
        self._http = self._manager.http(**self._options)

    def _of(self, manager: ModelManager) -> Http:
        if manager is not self._manager:
            self._manager, self._http = manager, manager.http(**self._options)
        return self._http

    async def answer(self, request: Request, template: str) -> Response:
        """Answers a request whose path ends with what `template` stands for."""
        service = find_service(request)
        http = self._http if self._own else self._of(require_service(request).manager)
        with service.request() if service else nullcontext():
            try:
                body = await _body(request, http.max_body_bytes)
            except ClientDisconnect:
                # Nobody reads it.
                return Response(status_code=499)
            status, headers, content = await http.handle_async(
                as_get(request.method), _target(request, template), request.headers.raw, body
            )
        response = Response(content, status)
        response.raw_headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        return response


async def _body(request: Request, most: int) -> bytes:
    """The whole body; cut behind `most` bytes, which is refused then."""
    parts, size = [], 0
    async for part in request.stream():
        # What is too long is read to its end, or the client would not read why, but not kept.
        if size <= most:
            parts.append(part)
        size += len(part)
    return b"".join(parts)


def _target(request: Request, template: str) -> str:
    """The path and query as they were sent, without what the routes are mounted beneath."""
    scope = request.scope
    path: str = scope["path"]
    rest: str = request.path_params.get(REST, "")
    own = template.count("/") + rest.count("/")
    # Parameters in front cannot hold a slash, so that segments count the same when decoded.
    front = path.count("/") - own
    raw: bytes | None = scope.get("raw_path")
    # Some servers leave the query on it.
    sent = raw.partition(b"?")[0].decode("latin-1") if raw else quote(path, safe=SAFE_IN_PATH)
    target = "/" + sent.split("/", front + 1)[-1]
    query: bytes = scope.get("query_string", b"")
    return f"{target}?{query.decode('latin-1')}" if query else target
