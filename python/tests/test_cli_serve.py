"""The command line: serve, with real requests and real signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from cli_program import HANG, run, serving, start
from conftest import Case
from tf_serving_client import TFServerConfig, TFServingClient

pytest.importorskip("uvicorn", reason="needs modelserve[server]")


def publish(root: Path, name: str, version: int, model: Case) -> None:
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    shutil.copy(model.path, folder / "model.onnx")


def test_a_repository_is_served_watched_and_drained(
    iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    """Clients under load see a new version and SIGTERM, and not one lost or wrong answer."""
    publish(tmp_path, "iris", 1, iris)
    truth = {1: iris.expected["labels"], 2: iris_v2.expected["labels"]}
    failures: list[Any] = []
    versions: set[int] = set()
    answered = [0] * 4

    def ask(k: int, url: str) -> None:
        try:
            with requests.Session() as session:
                while True:
                    response = session.post(
                        f"{url}/v1/models/iris:predict",
                        json={"instances": iris.rows.tolist()},
                        timeout=HANG,
                    )
                    version = int(response.headers.get("x-modelserve-version", 0))
                    labels = [row["label"] for row in response.json().get("predictions", [])]
                    if response.status_code != 200 or labels != truth.get(version):
                        failures.append((response.status_code, response.text[:200]))
                    answered[k] += 1
                    versions.add(version)
                    # What clients and balancers hear of a server that leaves.
                    if response.headers.get("connection") == "close":
                        return
        except requests.RequestException as error:
            failures.append(error)

    with serving(tmp_path, "--version-policy", "latest(2)", "--drain", 3) as server:
        assert server.told["models"] == [{"name": "iris", "versions": [1]}]
        client = TFServingClient(TFServerConfig("127.0.0.1", server.port, "iris", 1))
        got = client.predict(iris.rows)["predictions"]
        assert [row["label"] for row in got] == truth[1]
        threads = [threading.Thread(target=ask, args=(k, server.url)) for k in range(4)]
        for thread in threads:
            thread.start()
        publish(tmp_path, "iris", 2, iris_v2)
        end = time.monotonic() + HANG
        while 2 not in versions and time.monotonic() < end and not failures:
            time.sleep(0.05)
        server.terminate()
        for thread in threads:
            thread.join(HANG)
        # It still answers, and says that it leaves.
        ready = requests.get(f"{server.url}/v2/health/ready")
        assert ready.status_code == 503 and ready.json()["status"] == "draining"
        assert server.ended() == 0
    assert not failures and versions == {1, 2} and min(answered) > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_under_way_is_answered_after_the_listener_is_closed(
    workers: int, iris: Case, tmp_path: Path
) -> None:
    publish(tmp_path, "iris", 1, iris)
    body = json.dumps({"instances": iris.rows.tolist()}).encode()
    head = (
        f"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with serving(tmp_path, "--drain", 0, "--workers", workers) as server:
        assert len(server.told["pids"]) == workers
        if workers > 1:
            # The others go on, and another one takes its place.
            os.kill(server.told["pids"][0], signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", server.port), timeout=HANG) as connection:
            connection.sendall(head.encode() + body[:100])
            # The head was read once somebody else's later request is answered, by each worker.
            for _ in range(8):
                assert requests.get(f"{server.url}/health").status_code == 200
            server.terminate()
            end = time.monotonic() + HANG
            while _listens(server.port):
                assert time.monotonic() < end, "the listener is not closed"
                time.sleep(0.02)
            connection.sendall(body[100:])
            with connection.makefile("rb") as file:
                answer = file.read()
        fields, _, text = answer.partition(b"\r\n\r\n")
        assert fields.startswith(b"HTTP/1.1 200") and b"connection: close" in fields.lower()
        labels = [row["label"] for row in json.loads(text)["predictions"]]
        assert labels == iris.expected["labels"]
        assert server.ended() == 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=HANG).close()
    except OSError:
        return False
    return True


def test_plain_files_a_token_and_ctrl_c(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    shutil.copy(iris.path, tmp_path / "iris.onnx")
    shutil.copy(iris_v2.path, tmp_path / "other.onnx")
    options = ("--management", "--default-model", "iris")
    with serving(tmp_path, *options, MODELSERVE_TOKEN="s3cret") as server:
        assert [model["name"] for model in server.told["models"]] == ["iris", "other"]
        row = {"features": iris.rows[0].tolist()}
        answer = requests.post(f"{server.url}/predict", json=row).json()
        assert answer["prediction"] == iris.expected["labels"][0]
        reload = f"{server.url}/model/reload"
        assert requests.post(reload).status_code in (401, 403)
        bearer = {"Authorization": "Bearer s3cret"}
        assert requests.post(reload, headers=bearer).json()["status"] == "reloaded"
        server.process.send_signal(signal.SIGINT)
        assert server.ended() == 0


def test_a_configuration_is_served(iris: Case, tmp_path: Path) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.flowers]\npath = "{iris.path}"\nversion = 7\n')
    with serving(config) as server:
        assert server.told["source"] == "configuration"
        assert server.told["models"] == [{"name": "flowers", "versions": [7]}]
        assert requests.get(f"{server.url}/v1/models/flowers/versions/7").status_code == 200
        server.terminate()
        assert server.ended() == 0


def test_what_cannot_be_served_is_told(iris: Case, tmp_path: Path) -> None:
    run("serve", tmp_path).refuses("found nothing", f"{tmp_path}/NAME/VERSION/model.onnx")
    (tmp_path / "iris").mkdir()
    shutil.copy(iris.path, tmp_path / "iris" / "model.onnx")
    run("serve", tmp_path).refuses("no folder of a version", f"mkdir {tmp_path}/iris/1 && mv")
    run("serve", tmp_path / "none").refuses("none: No such file")
    broken = tmp_path / "models" / "iris" / "3"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"no model")
    run("serve", broken.parents[1]).refuses("no version can be loaded", "iris version 3")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run("serve", iris.path, "--port", port).refuses(f"port {port}", "in use")
    run("serve", iris.path, "--default-model", "x").refuses("no model 'x'; there are iris_v1")
    run("serve", iris.path, "--management", "--workers", 2).refuses("--workers 1")
    run("serve", iris.path, "--management", "--host", "0.0.0.0").refuses("MODELSERVE_TOKEN")


def test_a_configuration_opens_management_by_the_rules_of_the_option(
    iris: Case, tmp_path: Path
) -> None:
    config = tmp_path / "modelserve.toml"
    model = f'[models.flowers]\npath = "{iris.path}"\n'
    config.write_text(f"{model}[http]\nmanagement = true\n")
    everywhere = ("--host", "0.0.0.0", "--port", 0)
    run("serve", config, *everywhere).refuses("MODELSERVE_TOKEN", "[http]")
    run("serve", config, "--workers", 2, "--port", 0).refuses("--workers 1", "[http]")
    # On this machine only, or with a token of the file, it is open.
    with serving(config) as server:
        assert requests.post(f"{server.url}/model/reload").status_code == 200
    config.write_text(f'{model}[http]\nmanagement = true\ntoken = "s3cret"\n')
    with serving(config, "--host", "0.0.0.0") as server:
        reload = f"http://127.0.0.1:{server.port}/model/reload"
        assert requests.post(reload).status_code in (401, 403)
        bearer = {"Authorization": "Bearer s3cret"}
        assert requests.post(reload, headers=bearer).status_code == 200


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_before_the_server_listens_to_signals_is_not_lost(name: str, iris: Case) -> None:
    program = (
        "import signal, sys, uvicorn\n"
        "run = uvicorn.Server.run\n"
        "def late(server, sockets):\n"
        f"    signal.raise_signal(signal.{name})\n"
        "    run(server, sockets)\n"
        "uvicorn.Server.run = late\n"
        "from modelserve.cli import main\n"
        f"sys.exit(main(['serve', {str(iris.path)!r}, '--port', '0', '--drain', '0', '--json']))"
    )
    ended = start("-c", program)
    assert ended.code == 0 and not ended.out and "Traceback" not in ended.err
