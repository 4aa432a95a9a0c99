"""The library's errors in one's own routes, answered with the statuses of docs/http.md."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from modelserve import ModelServeError

logger = logging.getLogger(__name__)

#: The status of each kind of error: the column "reference" of the table in docs/http.md.
STATUS_OF_KIND: Mapping[str, int] = MappingProxyType(
    {
        "InvalidInput": 400,
        "InvalidArgument": 400,
        "InvalidModel": 400,
        "LimitExceeded": 413,
        "NotFound": 404,
        "AlreadyExists": 409,
        "PermissionDenied": 403,
        "Unsupported": 501,
        "NotReady": 503,
        "Overloaded": 503,
        "DeadlineExceeded": 504,
        "Cancelled": 499,
        "Io": 500,
        "Execution": 500,
        "Internal": 500,
    }
)

#: What looks like an absolute path, or like an address in memory.
_PATH = re.compile(r"(?<![A-Za-z0-9_.])(?:/\S|\\\\|0x|[A-Za-z]:[\\/])")


def status_of(error: ModelServeError) -> int:
    """The HTTP status of an error; 500 for kinds that no request can raise."""
    return STATUS_OF_KIND.get(error.kind, 500)


def _remote_message(error: ModelServeError) -> str:
    """What a remote reader may know: a message about the request, or one that names no path."""
    text = str(error)
    if error.kind == "InvalidInput" or not _PATH.search(text):
        return text
    of = f"model '{error.model}': " if error.model else ""
    return f"{of}a file was refused ({error.kind}); the server's log has the details"


async def _answer(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ModelServeError):
        raise error
    status = status_of(error)
    message = _remote_message(error)
    if status == 500 or message != str(error):
        logger.error("%s %s: %s", request.method, request.url.path, error, exc_info=error)
    return JSONResponse({"detail": message}, status)


def install_error_handlers(app: FastAPI) -> None:
    """Answers ModelServeError and its subclasses as `{"detail": message}` with `status_of`.

    Messages that name a path of the host are replaced, and logged together with errors of
    status 500 by the logger `modelserve.fastapi.error_handlers`.
    """
    app.add_exception_handler(ModelServeError, _answer)
