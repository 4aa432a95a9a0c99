"""A manager behind real servers, asked by clients that nobody here wrote."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests
from conftest import Case
from tf_serving_client import TFServerConfig, TFServingClient
from tritonclient import http as triton
from uvicorn_server import HANG, Server

import modelserve as ms


@pytest.fixture
def served(iris: Case, iris_v2: Case) -> Iterator[tuple[ms.ModelManager, Server]]:
    manager = ms.ModelManager(keep_versions=2)
    manager.load("iris", iris.path)
    manager.load_version("iris", iris_v2.path)
    server = Server(ms.asgi(manager, default_model="iris"))
    yield manager, server
    server.stop()


def test_the_tensorflow_serving_client_of_the_reference(
    served: tuple[ms.ModelManager, Server], iris: Case, iris_v2: Case
) -> None:
    _, server = served
    for version, case in ((1, iris), (2, iris_v2)):
        client = TFServingClient(TFServerConfig("127.0.0.1", server.port, "iris", version))
        assert client.health_check()
        got = client.predict(case.rows)["predictions"]
        assert [row["label"] for row in got] == case.expected["labels"]
        got = client.predict_with_signature(case.rows[:3], "serving_default")["predictions"]
        assert [row["label"] for row in got] == case.expected["labels"][:3]
    metadata = client.get_model_metadata()
    assert metadata["model_spec"]["version"] == "1"
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["X"]["dtype"] == "DT_FLOAT"
    nobody = TFServingClient(TFServerConfig("127.0.0.1", server.port, "nobody", 1))
    assert not nobody.health_check()
    with pytest.raises(requests.HTTPError, match="404"):
        nobody.predict(iris.rows)


def test_the_routes_of_the_reference_server(
    served: tuple[ms.ModelManager, Server], iris: Case
) -> None:
    _, server = served
    health = requests.get(f"{server.url}/health").json()
    assert health["status"] == "healthy" and health["model_loaded"] is True
    one = requests.post(
        f"{server.url}/predict", json={"features": iris.rows[0].tolist(), "request_id": "a"}
    ).json()
    assert one["prediction"] == iris.expected["labels"][0]
    assert one["request_id"] == "a" and one["model_version"] == "1"
    many = requests.post(
        f"{server.url}/predict/batch", json={"instances": iris.rows.tolist()}
    ).json()
    assert [row["prediction"] for row in many["predictions"]] == iris.expected["labels"]
    assert many["batch_size"] == len(iris.rows)
    wrong = requests.post(f"{server.url}/predict", json={"features": [1.0]})
    assert wrong.status_code == 400 and wrong.json()["detail"]
    # Changing models is off unless it is enabled.
    reload = requests.post(f"{server.url}/model/reload", params={"model_path": "/etc/passwd"})
    assert reload.status_code in (403, 404)
    assert "modelserve_requests_total" in requests.get(f"{server.url}/metrics").text


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient(
    served: tuple[ms.ModelManager, Server], iris: Case, iris_v2: Case, binary: bool
) -> None:
    _, server = served
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("iris") and not client.is_model_ready("nobody")
    assert client.get_model_metadata("iris")["inputs"][0]["name"] == "X"
    given = triton.InferInput("X", list(iris.rows.shape), "FP32")
    given.set_data_from_numpy(iris.rows, binary_data=binary)
    for version, case in (("", iris), ("1", iris), ("2", iris_v2)):
        wanted = [triton.InferRequestedOutput("label", binary_data=binary)]
        answer = client.infer("iris", [given], model_version=version, outputs=wanted)
        assert answer.as_numpy("label").tolist() == case.expected["labels"]
    with pytest.raises(triton.InferenceServerException):
        client.infer("nobody", [given])
    index = client.get_model_repository_index()
    assert {(m["name"], m["version"], m["state"]) for m in index} >= {("iris", "1", "READY")}
    stats = client.get_inference_statistics("iris")["model_stats"]
    assert any(s["version"] == "1" and s["inference_count"] >= len(iris.rows) for s in stats)
    client.close()


def test_triton_loads_and_unloads_where_that_is_enabled(iris: Case, tmp_path: Path) -> None:
    root = tmp_path / "models"
    (root / "iris" / "1").mkdir(parents=True)
    (root / "iris" / "1" / "model.onnx").write_bytes(iris.path.read_bytes())
    manager = ms.ModelManager()
    manager.serve_repository(root, watch=False, settle=0.001)
    server = Server(ms.asgi(manager, management=True, token="s3cret"))
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    bearer = {"Authorization": "Bearer s3cret"}
    try:
        with pytest.raises(triton.InferenceServerException):
            client.unload_model("iris")
        client.unload_model("iris", headers=bearer)
        assert not client.is_model_ready("iris")
        client.load_model("iris", headers=bearer)
        assert client.is_model_ready("iris")
    finally:
        client.close()
        server.stop()


def test_answers_stay_right_while_models_are_reloaded_behind_a_server(
    served: tuple[ms.ModelManager, Server], iris: Case, iris_v2: Case
) -> None:
    manager, server = served
    stop = threading.Event()
    truth = [iris.expected["labels"], iris_v2.expected["labels"]]
    seen: set[int] = set()
    wrong: list[Any] = []

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                response = session.post(
                    f"{server.url}/v1/models/iris:predict", json={"instances": iris.rows.tolist()}
                )
                labels = [row["label"] for row in response.json().get("predictions", [])]
                version = int(response.headers.get("x-modelserve-version", 0))
                seen.add(version)
                if response.status_code != 200 or labels != truth[(version + 1) % 2]:
                    wrong.append((response.status_code, version, response.text[:200]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for k in range(40):
        manager.reload("iris", (iris if k % 2 == 0 else iris_v2).path)
    stop.set()
    for thread in threads:
        thread.join(HANG)
    assert not wrong and len(seen) > 1


def test_a_configuration_file_is_served_and_requests_are_drained(
    iris: Case, tmp_path: Path
) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.iris]\npath = "{iris.path}"\n')
    server = Server(ms.asgi(config))
    answers: list[int] = []

    def ask() -> None:
        response = requests.post(
            f"{server.url}/predict/batch", json={"instances": iris.rows.tolist() * 200}
        )
        answers.append(response.status_code)

    assert requests.get(f"{server.url}/v2/health/ready").status_code == 200
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    server.stop()
    assert answers == [200] * 4
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/v2/health/ready")


def test_a_server_that_cannot_load_says_why(tmp_path: Path) -> None:
    async def start() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await ms.asgi(tmp_path / "none.toml")({"type": "lifespan"}, receive, send)
        return sent

    (message,) = asyncio.run(start())
    assert message["type"] == "lifespan.startup.failed" and "none.toml" in message["message"]


def test_a_long_body_is_refused_without_being_kept(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    server = Server(ms.asgi(manager, max_body_bytes=1000))
    try:
        response = requests.post(f"{server.url}/v1/models/iris:predict", data=b"[" * 100_000)
        assert response.status_code == 413
        assert requests.get(f"{server.url}/v1/models/iris").status_code == 200
    finally:
        server.stop()


def test_wsgi(manager: ms.ModelManager, iris: Case) -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    manager.load("iris", iris.path)
    with make_server("127.0.0.1", 0, ms.wsgi(manager), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            response = requests.post(
                f"{url}/v1/models/iris:predict", data=json.dumps({"instances": iris.rows.tolist()})
            )
            labels = [row["label"] for row in response.json()["predictions"]]
            assert labels == iris.expected["labels"]
            assert requests.get(f"{url}/v1/models/a%20b").status_code == 404
            assert requests.post(f"{url}/predict", json={"features": []}).status_code == 400
        finally:
            server.shutdown()
            thread.join(HANG)
