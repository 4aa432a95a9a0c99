"""The life of a manager in an application: made when the server starts, drained when it stops."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from modelserve import ModelManager, NotReadyError

logger = logging.getLogger(__name__)

#: Where a manager comes from: itself, a configuration file, or a function that makes it.
Source = ModelManager | str | os.PathLike[str] | Callable[[], ModelManager]

_KEY = "modelserve_service"


class Service:
    """A manager in service, and the requests that are under way with it."""

    def __init__(self, manager: ModelManager) -> None:
        self.manager = manager
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Holds the service up while a request is under way."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drain(self, timeout: float) -> None:
        """Waits until no request is under way, for `timeout` seconds at most."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            logger.warning("%d requests were still under way after %g s", self._under_way, timeout)


def find_service(connection: HTTPConnection) -> Service | None:
    """The service that `lifespan` has put into the application of a connection."""
    # The state of the connection reaches mounted applications; the application's own is there
    # even where a lifespan around this one has passed no state on.
    state = connection.scope.get("state") or {}
    service = state.get(_KEY) or getattr(connection.scope["app"].state, _KEY, None)
    return service if isinstance(service, Service) else None


def require_service(connection: HTTPConnection) -> Service:
    """As `find_service`; NotReadyError without one."""
    service = find_service(connection)
    if service is None:
        raise NotReadyError(
            "no manager is in service: make the application with "
            "FastAPI(lifespan=modelserve.fastapi.lifespan(...)), on a server that has started it"
        )
    return service


def _made(source: Source) -> ModelManager:
    if isinstance(source, ModelManager):
        return source
    if isinstance(source, str | os.PathLike):
        return ModelManager.from_config(Path(source))
    return source()


def lifespan(
    source: Source, *, drain_timeout: float = 30.0
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """A lifespan for `FastAPI(lifespan=...)` that puts a manager into service.

    `source` is a manager, a configuration file, or a function that makes a manager; the latter
    two are called when the server starts, in a thread, so that the event loop goes on. What they
    raise ends the start. At the stop the lifespan waits for the protocols' requests that are
    under way, `drain_timeout` seconds at most, and lets the manager go.
    """

    @asynccontextmanager
    async def of_application(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        service = Service(await asyncio.to_thread(_made, source))
        setattr(app.state, _KEY, service)
        try:
            yield {_KEY: service}
        finally:
            delattr(app.state, _KEY)
            await service.drain(drain_timeout)

    return of_application
