"""The page of the OpenAPI document, with nothing from other hosts."""

from __future__ import annotations

from importlib import resources
from importlib.util import find_spec

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from modelserve import InvalidArgumentError

#: The package that ships Swagger UI's files.
_PACKAGE = "fastapi_offline"


def local_docs(app: FastAPI, url: str = "/docs") -> None:
    """Adds a page with Swagger UI at `url`, whose files are served beneath it.

    The application has to be made with `docs_url=None`: FastAPI's own page loads Swagger UI from
    another host. Raises ImportError where the package `fastapi-offline` is missing, and
    InvalidArgumentError where the page's place is taken or there is no document to show.
    """
    if find_spec(_PACKAGE) is None:
        raise ImportError(
            "the OpenAPI page needs the package fastapi-offline, which is not installed: "
            "pip install 'modelserve[fastapi]', or give docs_url=None"
        )
    if app.openapi_url is None:
        raise InvalidArgumentError("the application has no openapi_url: there is nothing to show")
    if url in (app.docs_url, app.redoc_url):
        raise InvalidArgumentError(
            f"the application has a page of FastAPI's own at {url}: make it with docs_url=None"
        )
    files = f"{url}/swagger-ui"
    static = resources.files(_PACKAGE) / "static"
    app.mount(files, StaticFiles(directory=str(static)), name="modelserve swagger-ui")

    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f"{root}{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{files}/swagger-ui.css",
            swagger_favicon_url=f"{root}{files}/favicon.png",
            swagger_ui_parameters=app.swagger_ui_parameters,
        )

    app.add_api_route(url, page, methods=["GET"], include_in_schema=False)
