"""modelserve.fastapi: what one's own routes need, behind a real server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
import requests
from conftest import Case, case
from fastapi import Depends, FastAPI, WebSocket
from pydantic import BaseModel
from uvicorn_server import HANG, REPOSITORY

import modelserve as ms
from modelserve import errors
from modelserve.fastapi import (
    ManagerDep,
    create_app,
    get_manager,
    install_error_handlers,
    lifespan,
    model_dependency,
    router,
    status_of,
)

Serve = Callable[..., str]
ROW = case("iris_v1").expected["rows"][0]


class Row(BaseModel):
    petals: list[float]


def own_routes(app: FastAPI) -> None:
    @app.post("/classify")
    async def classify(row: Row, manager: ManagerDep) -> dict[str, Any]:
        answer = await manager.predict_async("iris", row.petals)
        return {"label": answer.prediction}

    @app.get("/version")
    async def version(
        model: Annotated[ms.Model, Depends(model_dependency("iris"))],
    ) -> int:
        return model.version

    @app.websocket("/stream")
    async def stream(socket: WebSocket, manager: ManagerDep) -> None:
        await socket.accept()
        await socket.send_json(manager.models())
        await socket.close()


def test_own_routes_use_the_manager_of_the_lifespan(
    serve: Serve, iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.iris]\npath = "{iris.path}"\n')
    app = FastAPI(lifespan=lifespan(config))
    install_error_handlers(app)
    own_routes(app)
    app.include_router(router(prefix="/served"))
    held: list[ms.ModelManager] = []

    @app.post("/replace")
    async def replace(manager: ManagerDep) -> None:
        held.append(manager)
        manager.reload("iris", iris_v2.path)

    url = serve(app)
    answer = requests.post(f"{url}/classify", json={"petals": ROW})
    assert answer.json() == {"label": iris.expected["labels"][0]}
    assert requests.get(f"{url}/version").json() == 1
    assert requests.post(f"{url}/replace").status_code == 200
    assert requests.get(f"{url}/version").json() == 2
    assert requests.get(f"{url}/served/health").json()["model_loaded"] is True
    wrong = requests.post(f"{url}/classify", json={"petals": [1.0]})
    assert wrong.status_code == 400 and "4" in wrong.json()["detail"]
    held[0].unload("iris")
    assert requests.get(f"{url}/version").status_code == 503
    assert requests.get(f"{url}/served/health").status_code == 503


def test_a_lifespan_composes_and_reaches_mounted_applications(
    loaded: ms.ModelManager, serve: Serve
) -> None:
    inner = FastAPI()
    own_routes(inner)

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with lifespan(loaded)(app) as state:
            yield {**state, "more": 1}

    app = FastAPI(lifespan=around)
    own_routes(app)
    app.mount("/inner", inner)
    url = serve(app)
    for path in ("/version", "/inner/version"):
        assert requests.get(url + path).json() == 1


def test_websockets_have_the_manager_too(loaded: ms.ModelManager) -> None:
    app = FastAPI(lifespan=lifespan(loaded))
    own_routes(app)

    async def work() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app):
            scope = {"type": "websocket", "path": "/stream", "query_string": b"", "headers": []}
            await app(scope, receive, send)
        return sent

    sent = asyncio.run(asyncio.wait_for(work(), HANG))
    assert json.loads(sent[1]["text"]) == ["iris"]


def test_without_a_lifespan_it_says_what_is_missing(serve: Serve) -> None:
    app = FastAPI()
    install_error_handlers(app)
    own_routes(app)
    app.include_router(router())
    url = serve(app)
    for path in ("/version", "/health"):
        answer = requests.get(url + path)
        assert answer.status_code == 503 and "lifespan" in answer.json()["detail"]


def test_a_test_replaces_the_manager(loaded: ms.ModelManager, serve: Serve) -> None:
    app = FastAPI()
    own_routes(app)
    app.dependency_overrides[get_manager] = lambda: loaded
    assert requests.get(f"{serve(app)}/version").json() == 1


def test_a_source_that_fails_ends_the_start(tmp_path: Path) -> None:
    app = create_app(tmp_path / "none.toml")

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(ms.ModelServeError, match=r"none\.toml"):
        asyncio.run(start())


def test_requests_under_way_are_drained(loaded: ms.ModelManager) -> None:
    app = create_app(loaded)
    given = asyncio.Event()
    order: list[str] = []

    async def work() -> None:
        async def receive() -> dict[str, Any]:
            order.append("asked")
            await given.wait()
            body = json.dumps({"features": ROW}).encode()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                order.append(f"answered {message['status']}")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [],
        }
        async with app.router.lifespan_context(app):
            request = asyncio.create_task(app(scope, receive, send))
            while not order:
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, given.set)
        order.append("stopped")
        await request

    asyncio.run(asyncio.wait_for(work(), HANG))
    assert order == ["asked", "answered 200", "stopped"]


def test_draining_ends_at_its_timeout(
    loaded: ms.ModelManager, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(loaded, drain_timeout=0.01)

    async def work() -> None:
        asked = asyncio.Event()

        async def receive() -> dict[str, Any]:
            asked.set()
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        async with app.router.lifespan_context(app):
            request = asyncio.create_task(app({**scope, "query_string": b""}, receive, send))
            await asked.wait()
        request.cancel()

    asyncio.run(asyncio.wait_for(work(), HANG))
    assert "1 requests were still under way" in caplog.text


def test_the_statuses_are_those_of_the_table_in_the_documentation() -> None:
    text = (REPOSITORY / "docs" / "http.md").read_text()
    rows = re.findall(r"^\| (\w+(?:, \w+)*) \| (\d{3}) \|", text, re.MULTILINE)
    table = {kind: int(status) for kinds, status in rows for kind in kinds.split(", ")}
    assert len(table) == 15
    assert {kind: status_of(error("x")) for kind, error in errors.BY_KIND.items()} == table
    assert status_of(ms.ConversionError("x")) == 500


def test_errors_of_own_routes_have_these_statuses(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/raise/{kind}")
    async def fail(kind: str, text: str) -> None:
        raise errors.BY_KIND[kind](text)

    @app.get("/load")
    def load(path: str) -> None:
        ms.load(path)

    url = serve(app)
    for kind, error in errors.BY_KIND.items():
        status = status_of(error(""))
        answer = requests.get(f"{url}/raise/{kind}", params={"text": "as it is: a/b, 1 / 2"})
        assert answer.status_code == status, kind
        assert answer.json() == {"detail": "as it is: a/b, 1 / 2"}
    # Of a file of the host the log says where it is, and the answer does not.
    answer = requests.get(f"{url}/load", params={"path": "no/such/model.onnx"})
    assert answer.status_code == 404 and "No such file" in answer.json()["detail"]
    assert "no/such" not in answer.text and "no/such/model.onnx" in caplog.text
