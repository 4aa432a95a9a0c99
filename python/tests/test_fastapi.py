"""modelserve.fastapi: the protocols as routes, behind a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import requests
from conftest import Case, case
from event_loop import ticks_during
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from uvicorn_server import HANG, REPOSITORY

import modelserve as ms
from modelserve.fastapi import (
    ManagerDep,
    create_app,
    lifespan,
    local_docs,
    router,
)

Serve = Callable[..., str]
ROW = case("iris_v1").expected["rows"][0]

#: Requests of every protocol, good and bad ones.
REQUESTS: list[tuple[str, str, dict[str, str], bytes]] = [
    ("GET", "/health", {}, b""),
    ("GET", "/predict", {}, b""),
    ("POST", "/predict", {}, json.dumps({"features": ROW, "request_id": "é"}).encode()),
    ("POST", "/predict", {}, b'{"features": [1]}'),
    ("POST", "/predict", {}, b"{"),
    ("POST", "/predict", {}, b"[" * 100_000),
    ("POST", "/predict", {"Content-Encoding": "gzip"}, b"{}"),
    ("POST", "/predict/batch", {}, json.dumps({"instances": [ROW]}).encode()),
    ("POST", "/model/reload?model_path=%2Fetc%2Fpasswd", {}, b""),
    ("GET", "/v1/models/iris", {}, b""),
    ("GET", "/V1/Models/iris", {}, b""),
    ("GET", "/v1/models/a%20b%2Fc", {}, b""),
    ("GET", "/v1/models/nobody/versions/1", {}, b""),
    ("GET", "/v1/models/iris/versions/99999999999999999999", {}, b""),
    ("GET", "/v1/models/iris:predict", {}, b""),
    ("GET", "/v1/nothing", {}, b""),
    ("POST", "/v1/models/iris:predict", {}, json.dumps({"instances": [ROW]}).encode()),
    ("POST", "/v1/models/iris/versions/1:predict", {}, json.dumps({"inputs": [ROW]}).encode()),
    ("POST", "/v1/models/iris/versions/2:predict", {}, json.dumps({"inputs": [ROW]}).encode()),
    ("POST", "/v1/models/iris/labels/x:predict", {}, json.dumps({"inputs": [ROW]}).encode()),
    ("POST", "/v1/models/iris:PREDICT", {}, b"{}"),
    ("GET", "/v2", {}, b""),
    ("GET", "/v2/", {}, b""),
    ("GET", "/v2/health/ready", {}, b""),
    ("POST", "/v2/health/ready", {}, b""),
    ("GET", "/v2/models/nobody/ready", {}, b""),
    ("GET", "/v2/models/iris/generate", {}, b""),
    ("POST", "/v2/repository/index", {}, b""),
    ("POST", "/v2/repository/models/iris/unload", {}, b""),
]
#: Times differ from one request to the next, and so does how much of a body that is too large was
#: read before it was refused.
TIMES = re.compile(rb'"(uptime_seconds|latency_ms)":[0-9.e-]+|a body of \d+ bytes')


@pytest.mark.parametrize("prefix", ["", "/ml"])
def test_every_answer_is_that_of_the_protocol(
    loaded: ms.ModelManager, serve: Serve, prefix: str
) -> None:
    app = FastAPI()
    app.include_router(router(loaded, prefix=prefix, max_body_bytes=50_000))
    url = serve(app)
    http = loaded.http(max_body_bytes=50_000)
    with httpx.Client(base_url=url + prefix) as client:
        for method, target, headers, body in REQUESTS:
            status, fields, content = http.handle(method, target, list(headers.items()), body)
            answer = client.request(method, target, headers=headers, content=body)
            what = f"{method} {target}"
            assert answer.status_code == status, what
            assert TIMES.sub(b"", answer.content) == TIMES.sub(b"", content), what
            assert {(k.lower(), v) for k, v in fields} <= set(answer.headers.items()), what


def test_it_can_be_mounted_included_and_served_beneath_a_root_path(
    loaded: ms.ModelManager, serve: Serve
) -> None:
    inner = FastAPI()
    inner.include_router(router(loaded), prefix="/tenants/{tenant}")
    app = FastAPI()
    app.mount("/models", inner)
    for url in (serve(app), serve(app, root_path="/front")):
        base = f"{url}/models/tenants/a%20b"
        answer = requests.post(f"{base}/v1/models/iris:predict", json={"instances": [ROW]})
        assert answer.status_code == 200, answer.text
        missing = requests.get(f"{base}/v1/models/a%2Fb/metadata")
        assert missing.status_code == 404 and "a/b" in missing.json()["error"]


def test_binary_tensors_pass(loaded: ms.ModelManager, serve: Serve, iris: Case) -> None:
    triton = pytest.importorskip("tritonclient.http")
    url = serve(create_app(loaded))
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    try:
        given = triton.InferInput("X", list(iris.rows.shape), "FP32")
        given.set_data_from_numpy(iris.rows, binary_data=True)
        answer = client.infer("iris", [given])
        assert answer.as_numpy("label").tolist() == iris.expected["labels"]
    finally:
        client.close()


def test_dependencies_guard_the_routes(loaded: ms.ModelManager, serve: Serve) -> None:
    async def guard(request: Request, api_key: Annotated[str | None, Header()] = None) -> None:
        # What a check of signatures does: the body is read here first.
        await request.body()
        if api_key != "k":
            raise HTTPException(401, "who are you?")

    app = FastAPI()
    app.include_router(router(loaded), dependencies=[Depends(guard)])
    url = serve(app)
    for path in ("/predict", "/v1/models/iris:predict", "/v1/other", "/metrics"):
        assert requests.post(url + path, json={}).status_code == 401
    good = requests.post(f"{url}/predict", json={"features": ROW}, headers={"Api-Key": "k"})
    assert good.status_code == 200


def test_protocols_and_options_are_chosen(loaded: ms.ModelManager, serve: Serve) -> None:
    app = FastAPI()
    app.include_router(router(loaded, protocols=["v2"], management=True, token="t"))
    url = serve(app)
    assert requests.get(f"{url}/v2/health/live").status_code == 200
    assert requests.get(f"{url}/v1/models/iris").status_code == 404
    shown = "/v2/repository/models/{model}/unload"
    assert shown in app.openapi()["paths"]
    unload = shown.format(model="iris")
    assert requests.post(url + unload).status_code == 401
    assert requests.post(url + unload, headers={"Authorization": "Bearer t"}).status_code == 200
    other = FastAPI()
    other.include_router(router(loaded))
    assert shown not in other.openapi()["paths"]
    with pytest.raises(ms.InvalidArgumentError, match="reference, v1, v2, metrics"):
        router(loaded, protocols=["v3"])  # type: ignore[list-item]
    for manager in (loaded, None):
        with pytest.raises(TypeError, match="no_such"):
            router(manager, no_such=1)  # type: ignore[call-arg]


def test_changing_models_is_said_in_the_program(iris: Case, tmp_path: Path, serve: Serve) -> None:
    file = tmp_path / "modelserve.toml"
    file.write_text(f'[models.iris]\npath = "{iris.path}"\n[http]\nmanagement = true\n')
    for options, status in (({}, 403), ({"management": True}, 200)):
        url = serve(create_app(file, **options))
        shown = requests.get(f"{url}/openapi.json").json()["paths"]
        assert ("/v2/repository/models/{model}/unload" in shown) == (status == 200), list(shown)
        answer = requests.post(f"{url}/v2/repository/models/iris/unload")
        assert answer.status_code == status


def test_head_is_answered_like_get(loaded: ms.ModelManager, serve: Serve) -> None:
    url = serve(create_app(loaded))
    for path in ("/health", "/v2/health/ready", "/v1/models/iris", "/metrics"):
        answer = requests.head(f"{url}{path}")
        assert answer.status_code == 200 and answer.content == b""


def test_cors_is_an_option(loaded: ms.ModelManager, serve: Serve) -> None:
    url = serve(create_app(loaded, cors_origins=["https://a.example"]))
    for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert requests.options(f"{url}/predict", headers=headers).ok is allowed
        answer = requests.post(f"{url}/predict", json={"features": ROW}, headers=headers)
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    plain = serve(create_app(loaded))
    answer = requests.get(f"{plain}/health", headers={"Origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_and_its_files_come_from_here(loaded: ms.ModelManager, serve: Serve) -> None:
    inner = create_app(loaded)
    app = FastAPI(lifespan=lifespan(loaded))
    app.mount("/sub", inner)
    for base in (serve(inner), serve(app) + "/sub"):
        page = requests.get(f"{base}/docs").text
        assert "https://" not in page and "http://" not in page
        files = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
        assert len(files) == 4
        for file in files:
            origin = base.removesuffix("/sub")
            assert requests.get(origin + file).status_code == 200, file
    without = create_app(loaded, docs_url=None)
    assert requests.get(f"{serve(without)}/docs").status_code == 404
    with pytest.raises(ms.InvalidArgumentError, match="docs_url=None"):
        local_docs(FastAPI())
    with pytest.raises(ms.InvalidArgumentError, match="openapi_url"):
        local_docs(FastAPI(openapi_url=None))


@pytest.mark.parametrize(
    ("missing", "program"),
    [
        ("fastapi", "import modelserve.fastapi"),
        (
            "fastapi_offline",
            "import modelserve, modelserve.fastapi as f; f.create_app(modelserve.ModelManager())",
        ),
    ],
)
def test_a_missing_package_is_told_with_what_to_install(missing: str, program: str) -> None:
    hide = f"import sys; sys.modules[{missing!r}] = None; "
    command = [sys.executable, "-c", hide + program]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    ended = subprocess.run(
        command, env=environment, timeout=HANG, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "pip install 'modelserve[fastapi]'" in ended.stderr.splitlines()[-1], ended.stderr


def test_the_event_loop_goes_on_while_a_long_batch_is_predicted(
    manager: ms.ModelManager, iris: Case
) -> None:
    forest = case("gradient_boosting")
    manager.load("forest", forest.path)
    rows = forest.rows.repeat(200, axis=0)
    # Long enough for the loop to come round on a machine with other work, too.
    many = forest.rows.repeat(60_000 // len(forest.rows), axis=0)
    app = create_app(manager, default_model="forest")

    @app.post("/awaited")
    async def awaited(manager: ManagerDep) -> int:
        return len(await manager.predict_batch_async("forest", many))

    @app.post("/blocking")
    async def blocking(manager: ManagerDep) -> int:
        return len(manager.predict_batch("forest", many))

    async def work() -> dict[str, int]:
        body = json.dumps({"instances": rows.tolist()}).encode()
        ticks = {}
        async with app.router.lifespan_context(app):
            for path in ("/predict/batch", "/awaited", "/blocking"):
                status, ticks[path] = await ticks_during(app, path, body)
                assert status == 200
        return ticks

    ticks = asyncio.run(asyncio.wait_for(work(), HANG))
    assert ticks["/predict/batch"] > 10 and ticks["/awaited"] > 10
    assert ticks["/blocking"] <= 10, "a loop that is blocked would not be noticed"


def test_many_callers_get_their_own_answers(
    loaded: ms.ModelManager, serve: Serve, iris: Case
) -> None:
    url = serve(create_app(loaded))
    wrong: list[Any] = []

    def ask(begin: int) -> None:
        with requests.Session() as session:
            for k in range(begin, begin + 40):
                row, label = (
                    iris.expected[what][k % len(iris.rows)] for what in ("rows", "labels")
                )
                body = {"features": row, "request_id": str(k)}
                answer = session.post(f"{url}/predict", json=body).json()
                if (answer["prediction"], answer["request_id"]) != (label, str(k)):
                    wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(40 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not wrong
