"""A whole application in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Unpack, get_args

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import modelserve

from .error_handlers import install_error_handlers
from .lifespan import Source, lifespan
from .page import local_docs
from .routing import ProtocolName, router

if TYPE_CHECKING:
    from modelserve._native import _HttpOptions

#: What browsers on other sites may send, and may read of answers.
_SENT = ["Authorization", "Content-Type", "Inference-Header-Content-Length", "x-modelserve-key"]
_READ = ["Inference-Header-Content-Length", "x-modelserve-version", "x-modelserve-route"]


def create_app(
    source: Source,
    *,
    title: str = "modelserve",
    description: str = "",
    version: str = modelserve.__version__,
    prefix: str = "",
    docs_url: str | None = "/docs",
    cors_origins: Sequence[str] = (),
    protocols: Iterable[ProtocolName] = get_args(ProtocolName),
    example_row: Sequence[float] = (5.1, 3.5, 1.4, 0.2),
    drain_timeout: float = 30.0,
    **options: Unpack[_HttpOptions],
) -> FastAPI:
    """An application with the protocols' routes, the OpenAPI page, and handlers of errors.

    `source` is a manager, a configuration file, or a function that makes a manager when the server
    starts (`lifespan`). `cors_origins` are the sites whose pages may ask, `["*"]` for all; without
    credentials. The rest is as in `router`, `lifespan` and `local_docs`; further routes are added
    as to any application.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan(source, drain_timeout=drain_timeout),
    )
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=_SENT,
            expose_headers=_READ,
        )
    install_error_handlers(app)
    app.include_router(
        router(prefix=prefix, protocols=protocols, example_row=example_row, **options)
    )
    if docs_url is not None:
        local_docs(app, docs_url)
    return app
