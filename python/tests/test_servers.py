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
from doc_blocks import blocks

import modelserve as ms

HANG = 60
DEPLOYMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"

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
    with started(tmp_path, name, SERVERS[name]) as of:
        yield of


@contextmanager
def started(
    folder: Path, module: str, arguments: Callable[[int], list[str]]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server's program in `folder`, from when it is ready: where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments(port)],
            env=environment(folder),
            cwd=folder,
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


def environment(folder: Path) -> dict[str, str]:
    """Of a process in `folder` that imports from there what the documentation's code imports."""
    package = Path(ms.__file__).resolve().parents[1]
    path = [str(folder), str(package), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


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


def documented(name: str) -> str:
    """The file of that name in docs/deployment.md."""
    (block,) = [block for block in blocks(DEPLOYMENT) if block.title == name]
    return block.text


@pytest.fixture
def configured(iris: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder holds the configuration file that the documentation's code names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modelserve.toml").write_text(f'[models.iris]\npath = "{iris.path}"\n')


@pytest.mark.usefixtures("configured")
def test_beside_a_flask_application(iris: Case) -> None:
    pytest.importorskip("flask", reason="Flask is not installed")
    from werkzeug.serving import make_server as make_werkzeug_server

    module: dict[str, Any] = {"__name__": "flask_app"}
    exec(documented("flask_app.py"), module)
    app = module["app"]
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


@pytest.mark.usefixtures("configured")
def test_beside_a_django_application(iris: Case) -> None:
    pytest.importorskip("django", reason="Django is not installed")
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    if not settings.configured:
        urls = type(sys)("beside_django_urls")
        urls.urlpatterns = [path("hello", lambda request: HttpResponse("hello"))]  # type: ignore[attr-defined]
        settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of a test")
    module: dict[str, Any] = {"__name__": "wsgi"}
    exec(documented("wsgi.py"), module)
    with serving(module["application"]) as url:
        check_mounted(url, iris)


def test_forked_workers_follow_a_repository(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    """Each from its first request on: no watcher survives a fork."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    versions = tmp_path / "models" / "iris"
    (versions / "1").mkdir(parents=True)
    shutil.copy(iris.path, versions / "1")
    (tmp_path / "modelserve.toml").write_text(
        '[manager]\nmodel_repository = "models"\nwatch = true\nsettle = "10ms"\n'
    )
    (tmp_path / "gunicorn_app.py").write_text(documented("gunicorn_app.py"))
    gunicorn = ["--preload", "-w", "2", "gunicorn_app:app", "--bind"]
    with started(tmp_path, "gunicorn", lambda port: [*gunicorn, f"127.0.0.1:{port}"]) as (url, _):
        end = time.monotonic() + HANG
        (versions / "2.tmp").mkdir()
        shutil.copy(iris_v2.path, versions / "2.tmp" / "model.onnx")
        (versions / "2.tmp").rename(versions / "2")
        # Whichever worker answers: forty times in a row it is the new version.
        in_a_row = 0
        while in_a_row < 40:
            assert time.monotonic() < end, "version 2 does not come"
            answer = requests.post(
                f"{url}/v1/models/iris:predict", json={"instances": iris.rows.tolist()}
            )
            got = [row["label"] for row in answer.json()["predictions"]]
            version = int(answer.headers["x-modelserve-version"])
            assert got == (iris, iris_v2)[version - 1].expected["labels"]
            in_a_row = in_a_row + 1 if version == 2 else 0
            time.sleep(0.02)
