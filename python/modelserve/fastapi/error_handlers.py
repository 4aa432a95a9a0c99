"""The library's errors in one's own routes, answered with the statuses of docs/http.md."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from modelserve import ModelServeError
from modelserve._native import http_status

logger = logging.getLogger(__name__)


def status_of(error: ModelServeError) -> int:
    """The HTTP status of an error: the column "reference" of the table in docs/http.md."""
    return http_status(error.kind)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ModelServeError):
        raise error
    status = status_of(error)
    message = error.remote_message or str(error)
    if status == 500 or message != str(error):
        logger.error("%s %s: %s", request.method, request.url.path, error, exc_info=error)
    return JSONResponse({"detail": message}, status)


def install_error_handlers(app: FastAPI) -> None:
    """Answers ModelServeError and its subclasses as `{"detail": message}` with `status_of`.

    Paths of the host are left out (`ModelServeError.remote_message`). Such errors, and those of
    status 500, are logged whole by the logger `modelserve.fastapi.error_handlers`.
    """
    app.add_exception_handler(ModelServeError, _answer)
