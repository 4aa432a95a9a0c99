"""Servers that are processes of their own, and applications of Flask and Django beside ours."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests
from conftest import Case

import modelserve as ms

HANG = 60

APP = """
from pathlib import Path
import modelserve as ms

app = ms.asgi(Path(__file__).with_name("modelserve.toml"))
"""

SERVERS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn": lambda port: ["--host", "127.0.0.1", "--port", str(port), "served:app"],
    "hypercorn": lambda port: ["--bind", f"127.0.0.1:{port}", "served:app"],
    "granian": lambda port: [
        *("--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "served:app")
    ],
}


@pytest.fixture(params=list(SERVERS))
def server(
    request: pytest.FixtureRequest, iris: Case, tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of a configuration file, which it loads by the lifespan protocol."""
    name: str = request.param
    pytest.importorskip(name, reason=f"{name} is not installed")
    folder = tmp_path / "models" / "iris" / "1"
    folder.mkdir(parents=True)
    shutil.copy(iris.path, folder)
    (tmp_path / "modelserve.toml").write_text('[manager]\nmodel_repository = "models"\n')
    (tmp_path / "served.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path[1:]])
    log = tmp_path / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", name, *SERVERS[name](port)],
            env=environment,
            cwd=tmp_path,
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + HANG
        while not _answers(f"{url}/v2/health/ready"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.05)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(HANG)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=HANG).status_code == 200
    except requests.ConnectionError:
        return False


def test_asgi_servers(server: tuple[str, subprocess.Popen[bytes]], iris: Case) -> None:
    url, process = server
    with requests.Session() as session:
        response = session.post(
            f"{url}/v1/models/iris:predict", json={"instances": iris.rows.tolist()}, timeout=HANG
        )
        assert response.headers["x-modelserve-version"] == "1"
        got = [row["label"] for row in response.json()["predictions"]]
        assert got == iris.expected["labels"]
        metadata = session.get(f"{url}/v2/models/iris", timeout=HANG).json()
        assert metadata["name"] == "iris" and metadata["versions"] == ["1"]
        assert metadata["inputs"][0]["datatype"] == "FP32"
        # A name with a slash in it is no path to a version.
        crafted = session.get(f"{url}/v1/models/iris%2Fversions%2F1", timeout=HANG)
        assert crafted.status_code in (400, 404)
        head = session.head(f"{url}/health", timeout=HANG)
        assert head.status_code == 200 and head.content == b""
        assert int(head.headers["Content-Length"]) > 0
        chunks = iter([b'{"instances": ', b"[[5.9, 3.0, 5.1, 1.8]]}"])
        chunked = session.post(f"{url}/v1/models/iris:predict", data=chunks, timeout=HANG)
        assert chunked.status_code == 200, chunked.text
    process.send_signal(signal.SIGTERM)
    process.wait(HANG)
    assert not _answers(f"{url}/v2/health/ready")


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The WSGI server of the standard library, in a thread."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(HANG)


def check_mounted(url: str, iris: Case) -> None:
    response = requests.post(
        f"{url}/models/v1/models/iris:predict",
        json={"instances": iris.rows.tolist()},
        timeout=HANG,
    )
    got = [row["label"] for row in response.json()["predictions"]]
    assert got == iris.expected["labels"]
    assert requests.get(f"{url}/models/v2/health/ready", timeout=HANG).status_code == 200
    assert requests.get(f"{url}/hello", timeout=HANG).text == "hello"
    assert requests.get(f"{url}/v2/health/ready", timeout=HANG).status_code == 404


def test_beside_a_flask_application(manager: ms.ModelManager, iris: Case) -> None:
    flask = pytest.importorskip("flask", reason="Flask is not installed")
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.serving import make_server as make_werkzeug_server

    manager.load("iris", iris.path)
    app = flask.Flask("beside")
    app.add_url_rule("/hello", view_func=lambda: "hello")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/models": ms.wsgi(manager)})
    with serving(app) as url:
        check_mounted(url, iris)
    # Flask's own server hands over what was sent, and takes chunks.
    server = make_werkzeug_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        check_mounted(url, iris)
        crafted = requests.get(f"{url}/models/v1/models/iris%2Fversions%2F1", timeout=HANG)
        assert crafted.status_code in (400, 404)
        chunks = iter([b'{"instances": ', b"[[5.9, 3.0, 5.1, 1.8]]}"])
        chunked = requests.post(f"{url}/models/v1/models/iris:predict", data=chunks, timeout=HANG)
        assert chunked.status_code == 200, chunked.text
    finally:
        server.shutdown()
        thread.join(HANG)
        server.server_close()


def test_beside_a_django_application(manager: ms.ModelManager, iris: Case) -> None:
    django = pytest.importorskip("django", reason="Django is not installed")
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    if not settings.configured:
        urls = type(sys)("beside_django_urls")
        urls.urlpatterns = [path("hello", lambda request: HttpResponse("hello"))]  # type: ignore[attr-defined]
        settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of a test")
    assert django.VERSION
    manager.load("iris", iris.path)
    site, models = get_wsgi_application(), ms.wsgi(manager)

    # As in docs/deployment.md: what a project's wsgi.py holds.
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        name, slash, rest = environ["PATH_INFO"].removeprefix("/").partition("/")
        if name != "models":
            return site(environ, start_response)
        moved = {"SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + "/models"}
        return models({**environ, **moved, "PATH_INFO": slash + rest}, start_response)

    with serving(application) as url:
        check_mounted(url, iris)
