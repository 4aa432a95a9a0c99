"""What one's own routes depend on: the manager in service, or one of its models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from modelserve import Model, ModelManager, NotFoundError, NotReadyError

from .lifespan import require_service


async def get_manager(connection: HTTPConnection) -> ModelManager:
    """The manager that the application's `lifespan` has put into service.

    Raises NotReadyError where there is none. Tests replace it with
    `app.dependency_overrides[get_manager]`.
    """
    return require_service(connection).manager


#: For the parameters of one's own routes: `async def route(manager: ManagerDep)`.
ManagerDep = Annotated[ModelManager, Depends(get_manager)]


def model_dependency(name: str) -> Callable[[ModelManager], Awaitable[Model]]:
    """A dependency on one model: `model: Annotated[Model, Depends(model_dependency("iris"))]`.

    The model follows reloads; `model.pin()` holds one version. While there is no model of that
    name it raises NotReadyError (503: the server lacks it, the request is not at fault).
    """

    async def model(manager: ManagerDep) -> Model:
        try:
            return manager.model(name)
        except NotFoundError as e:
            raise NotReadyError(f"model '{name}' is not loaded") from e

    return model
