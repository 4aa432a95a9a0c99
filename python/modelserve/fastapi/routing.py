"""The HTTP protocols as routes of FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer

from modelserve import InvalidArgumentError, ModelManager

from . import metrics, open_inference, reference, tensorflow
from .handling import REST, Handler
from .operations import Operation

if TYPE_CHECKING:
    from modelserve._native import _HttpOptions

#: The reference server, TensorFlow Serving's REST interface, the Open Inference Protocol, metrics.
ProtocolName = Literal["reference", "v1", "v2", "metrics"]

_OPERATIONS: dict[ProtocolName, Sequence[Operation]] = {
    "reference": reference.OPERATIONS,
    "v1": tensorflow.OPERATIONS,
    "v2": open_inference.OPERATIONS,
    "metrics": metrics.OPERATIONS,
}
#: All that belongs to a protocol, also requests that it refuses: in its own words.
_PATHS: dict[ProtocolName, Sequence[str]] = {
    "reference": [operation.path for operation in reference.OPERATIONS],
    "v1": [f"/v1/{{{REST}:path}}", f"/V1/{{{REST}:path}}"],
    "v2": ["/v2", f"/v2/{{{REST}:path}}"],
    "metrics": [operation.path for operation in metrics.OPERATIONS],
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def router(
    manager: ModelManager | None = None,
    *,
    prefix: str = "",
    protocols: Iterable[ProtocolName] = get_args(ProtocolName),
    example_row: Sequence[float] = (5.1, 3.5, 1.4, 0.2),
    tags: list[str | Enum] | None = None,
    **options: Unpack[_HttpOptions],
) -> APIRouter:
    """The routes of the protocols, for `app.include_router`.

    `manager` answers them; by default the one that the application's `lifespan` puts into
    service. `protocols` chooses among them, where the application has routes of its own by those
    names. `example_row` stands in the examples of the OpenAPI document. `options` are those of
    `ModelManager.http`: routes that change models are in the document with `management=True` only.

    Statuses, headers and bodies are the protocols' own, also of errors (docs/http.md). Dependencies
    of the application and of `include_router` apply.
    """
    handler = Handler(manager, options)
    routes = APIRouter(prefix=prefix)
    chosen = list(protocols)
    for name in chosen:
        if name not in _OPERATIONS:
            known = ", ".join(_OPERATIONS)
            raise InvalidArgumentError(f"no protocol has the name {name!r}: there are {known}")
        for operation in _OPERATIONS[name]:
            if operation.management and not options.get("management"):
                continue
            _add(routes, operation, handler, options, list(example_row), tags)
    for name in chosen:
        for path in _PATHS[name]:
            routes.add_api_route(
                path, _endpoint(handler, path), methods=_METHODS, include_in_schema=False
            )
    return routes


def _endpoint(handler: Handler, template: str) -> Callable[[Request], Awaitable[Response]]:
    template = template.replace(f"{{{REST}:path}}", "")

    async def answer(request: Request) -> Response:
        return await handler.answer(request, template)

    return answer


def _add(
    routes: APIRouter,
    operation: Operation,
    handler: Handler,
    options: _HttpOptions,
    row: list[float],
    tags: list[str | Enum] | None,
) -> None:
    # It only describes: the token is compared by the compiled module, in constant time.
    bearer = Depends(HTTPBearer(auto_error=False, description="The token of the option `token`."))
    shown: dict[str, Any] = operation.openapi_extra(options.get("default_model") or "iris", row)
    routes.add_api_route(
        operation.path,
        _endpoint(handler, operation.path),
        methods=[operation.method],
        summary=operation.summary,
        tags=[operation.tag] if tags is None else tags,
        response_class=Response,
        responses=operation.openapi_responses(),
        openapi_extra=shown,
        dependencies=[bearer] if operation.management and options.get("token") else None,
        name="modelserve",
    )
