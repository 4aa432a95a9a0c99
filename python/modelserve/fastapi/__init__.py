"""A manager in a FastAPI application: the HTTP protocols as routes, and what one's own routes need.

>>> from modelserve import ModelManager
>>> from modelserve.fastapi import create_app
>>> app = create_app(ModelManager())    # uvicorn module:app

The routes' answers come from the compiled module, byte for byte; the models of this package are
what the OpenAPI document says of them. `docs/fastapi.md` shows the use.
"""

try:
    import fastapi as _fastapi  # noqa: F401
except ImportError as e:
    raise ImportError(
        "modelserve.fastapi needs FastAPI, which is not installed: "
        "pip install 'modelserve[fastapi]'"
    ) from e

from .application import create_app
from .dependencies import ManagerDep, get_manager, model_dependency
from .error_handlers import install_error_handlers, status_of
from .lifespan import lifespan
from .page import local_docs
from .routing import ProtocolName, router

__all__ = [
    "ManagerDep",
    "ProtocolName",
    "create_app",
    "get_manager",
    "install_error_handlers",
    "lifespan",
    "local_docs",
    "model_dependency",
    "router",
    "status_of",
]
