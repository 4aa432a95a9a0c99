"""What clients of Triton and operators rely on, a test for each point.

The points before these, which are TensorFlow Serving's, begin in test_wire_checklist.py.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nginx_fleet
import numpy as np
import pytest
import requests
from conftest import Case, case
from nginx_fleet import MODEL, Truth
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException
from wire_client import HANG, Wire

import modelserve as ms

TOKEN = "s3cret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Serve = Callable[..., str]


def published(root: Path, name: str, version: int, from_: Path) -> None:
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    shutil.copy(from_, folder / "model.onnx")


def test_08_tritonclient_binary_metadata_ready_index_load_unload_stats_classification(
    serve: Serve, tmp_path: Path
) -> None:
    words = case("logistic_strings")
    published(tmp_path, "words", 1, words.path)
    manager = ms.ModelManager()
    url = serve(ms.asgi(manager, management=True, token=TOKEN, root=tmp_path))
    wire = Wire(url)
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        # Not ready: no model, none of this name. Loading and unloading answer nothing.
        assert client.is_server_live() and not client.is_server_ready()
        assert wire.get("/v2/health/ready").status == 503
        assert not client.is_model_ready("words")
        client.load_model("words", headers=BEARER)
        assert client.is_server_ready() and client.is_model_ready("words", "1")
        assert wire.get("/v2/health/live").json == {"live": True}
        assert wire.get("/v2/health/ready").json == {"ready": True}
        assert wire.get("/v2/models/words/ready").json == {"name": "words", "ready": True}

        server = client.get_server_metadata()
        # model_configuration is there too, and advertised (docs/http.md).
        extensions = {"binary_tensor_data", "classification", "model_repository", "statistics"}
        assert set(server["extensions"]) == extensions | {"model_configuration"}
        assert server["version"] == ms.__version__ and isinstance(server["name"], str)
        metadata = client.get_model_metadata("words")
        label, scores = (output["name"] for output in metadata["outputs"])
        assert metadata == {
            "name": "words",
            "versions": ["1"],
            "platform": "onnx",
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [
                {"name": label, "datatype": "BYTES", "shape": [-1]},
                {"name": scores, "datatype": "FP32", "shape": [-1, 3]},
            ],
        }

        # The client's default is binary both ways; JSON says the same.
        rows, expected = words.rows[:3], words.expected
        for binary in (True, False):
            given = triton.InferInput("X", list(rows.shape), "FP32")
            given.set_data_from_numpy(rows, binary_data=binary)
            asked = [triton.InferRequestedOutput(n, binary_data=binary) for n in (label, scores)]
            answer = client.infer("words", [given], outputs=asked, request_id="a 1")
            labels = [x.decode() if binary else x for x in answer.as_numpy(label)]
            assert labels == expected["labels"][:3]
            got = answer.as_numpy(scores)
            assert np.allclose(got, expected["probabilities"][:3], atol=1e-5)
            response = answer.get_response()
            assert [response[k] for k in ("model_name", "model_version", "id")] == [
                "words",
                "1",
                "a 1",
            ]
            size = (response["outputs"][1].get("parameters") or {}).get("binary_data_size")
            assert size == (got.nbytes if binary else None)
        # With nothing said at all, everything is binary.
        given.set_data_from_numpy(rows)
        response = client.infer("words", [given], model_version="1").get_response()
        assert all(output["parameters"]["binary_data_size"] for output in response["outputs"])

        top = triton.InferRequestedOutput(scores, class_count=2)
        answer = client.infer("words", [given], outputs=[top]).as_numpy(scores)
        assert answer.shape == (3, 2)
        for texts, probabilities in zip(answer, expected["probabilities"], strict=False):
            for text, index in zip(texts, np.argsort(probabilities)[::-1], strict=False):
                value, place, name = text.decode().split(":")
                assert (int(place), name) == (index, expected["classes"][index])
                assert abs(float(value) - probabilities[index]) < 1e-5

        (stats,) = client.get_inference_statistics("words")["model_stats"]
        assert (stats["name"], stats["version"]) == ("words", "1")
        assert (stats["inference_count"], stats["execution_count"]) == (12, 4)
        parts = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output"}
        assert set(stats["inference_stats"]) == parts | {"cache_hit", "cache_miss"}
        assert all(set(part) == {"count", "ns"} for part in stats["inference_stats"].values())
        assert stats["inference_stats"]["success"]["count"] == 4
        assert {"last_inference", "response_stats", "batch_stats", "memory_usage"} <= set(stats)

        ready = {"name": "words", "version": "1", "state": "READY", "reason": ""}
        assert client.get_model_repository_index() == [ready]
        client.unload_model("words", headers=BEARER)
        assert not client.is_model_ready("words")
        assert wire.post("/v2/repository/index", {"ready": True}).json == []
        unknown = "Request for unknown model: 'words' is not found"
        with pytest.raises(InferenceServerException, match=unknown):
            client.infer("words", [given])
        for path in ("", "/config", "/stats"):
            assert wire.get(f"/v2/models/words{path}").error == (404, unknown)
        with pytest.raises(InferenceServerException, match="half"):
            client.load_model("half", headers=BEARER)
        client.load_model("words", headers=BEARER)
        answer = wire.ask("POST", "/v2/repository/models/words/unload", b"", BEARER)
        assert (answer.status, answer.body) == (200, b"")
    # Paths are compared with their case.
    for method, target in (("GET", "/v2/models/words/infer"), ("POST", "/v2/health/live")):
        assert wire.ask(method, target).error == (405, "Method Not Allowed")
    for target in ("/v2/models/words/READY", "/v2/models", "/V2"):
        assert wire.get(target).status == 404
    assert wire.get("/v2/nothing").error == (404, "Not Found")
    wire.close()


def test_09_nginx_asks_the_next_worker_when_not_loaded_and_not_for_bad_input(
    tmp_path: Path,
) -> None:
    if nginx_fleet.MISSING:
        pytest.skip(nginx_fleet.MISSING)
    row = Truth.read().rows[0]
    (tmp_path / "fleet").mkdir()
    (tmp_path / "empty").mkdir()
    with nginx_fleet.running(tmp_path / "fleet") as fleet:
        log, logged = nginx_fleet.log_of, nginx_fleet.log_behind
        with nginx_fleet.first_worker_empty(fleet, tmp_path / "empty") as empty:
            refused = requests.post(f"{empty}/predict", json={"features": row}, timeout=HANG)
            assert (refused.status_code, refused.json()) == (503, {"detail": "Model not loaded"})
            start = len(log(fleet))
            for _ in range(8):
                answer = requests.post(f"{fleet.url}/predict", json={"features": row}, timeout=HANG)
                assert answer.status_code == 200, answer.text
            upstreams = {entry["upstream_status"] for entry in logged(fleet, start, 8)}
            # Some came to the empty worker first, and each of those to another one then.
            assert upstreams == {"200", "503, 200"}
        bad: list[tuple[str, Any]] = [
            ("/predict", {"features": [1.0]}),
            (f"/v1/models/{MODEL}:predict", {"instances": [[1, 2]]}),
            (f"/v2/models/{MODEL}/infer", {"inputs": []}),
        ]
        for path, body in bad:
            start = len(log(fleet))
            for _ in range(3):
                assert (
                    requests.post(f"{fleet.url}{path}", json=body, timeout=HANG).status_code == 400
                )
            for entry in logged(fleet, start, 3):
                assert entry["upstream_status"] == "400" and "," not in entry["upstream"], entry


class Asking(threading.Thread):
    """Asks in all three protocols without pause, and checks each answer by the version it names."""

    def __init__(self, url: str, truth: Truth) -> None:
        super().__init__()
        self.wire, self.truth = Wire(url), truth
        self.stop = threading.Event()
        self.versions: set[int] = set()
        self.wrong: list[str] = []
        self.done = 0

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._ask()
                self.done += 1
        except Exception as e:
            self.wrong.append(repr(e))

    def _ask(self) -> None:
        rows = self.truth.rows[:20]
        many = self.wire.predict("m", {"instances": rows})
        version = int(many.headers["x-modelserve-version"])
        self._check(version, [row["probabilities"] for row in many.json["predictions"]])

        one = self.wire.post("/predict", {"features": rows[0]})
        version, p = int(one.json["model_version"]), one.json["probability"]
        malignant = p if self.truth.malignant[(version + 1) % 2][0] > 0.5 else 1 - p
        self._check(version, [[1 - malignant, malignant]])
        assert one.headers["x-modelserve-version"] == str(version)

        x = {"name": "X", "shape": [20, 30], "datatype": "FP32", "data": rows}
        answer = self.wire.post("/v2/models/m/infer", {"inputs": [x]})
        (data,) = [o["data"] for o in answer.json["outputs"] if o["name"] == "probabilities"]
        self._check(int(answer.json["model_version"]), np.reshape(data, (20, 2)).tolist())

    def _check(self, version: int, probabilities: list[list[float]]) -> None:
        self.versions.add(version)
        if not self.truth.is_right(version, 0, probabilities):
            self.wrong.append(f"version {version}: {probabilities[0]}")


def test_10_a_swap_under_load_shows_no_request_old_version_and_new_weights(serve: Serve) -> None:
    models = nginx_fleet.EXAMPLES / "data" / "models" / MODEL
    manager = ms.ModelManager()
    manager.load("m", models / "1" / "model.onnx")
    url, truth = serve(ms.asgi(manager)), Truth.read()
    clients = [Asking(url, truth) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        for version in range(2, 22):
            manager.reload("m", models / str((version + 1) % 2 + 1) / "model.onnx")
            seen = sum(client.done for client in clients)

            def asked(seen: int = seen) -> bool:
                assert all(client.is_alive() for client in clients), clients[0].wrong
                return sum(client.done for client in clients) >= seen + 2

            nginx_fleet.wait_until("answers between two swaps", asked)
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(HANG)
            client.wire.close()
    assert [client.wrong for client in clients] == [[]] * 3
    assert len(set().union(*(client.versions for client in clients))) >= 15


def test_11_a_failed_load_leaves_the_old_version_available(
    serve: Serve, iris: Case, tmp_path: Path
) -> None:
    published(tmp_path, "iris", 1, iris.path)
    manager = ms.ModelManager()
    url = serve(ms.asgi(manager, management=True, token=TOKEN, root=tmp_path))
    wire = Wire(url)
    load = "/v2/repository/models/iris/load"
    assert wire.ask("POST", load, b"", BEARER).status == 200
    (tmp_path / "iris" / "2").mkdir()
    (tmp_path / "iris" / "2" / "model.onnx").write_bytes(iris.path.read_bytes()[:-100])
    other = case("linear_regression").path
    published(tmp_path, "iris", 3, other)
    reload = "/model/reload?model_path=iris/{}/model.onnx"
    for number, target in enumerate([load, reload.format(2), reload.format(3)], 1):
        assert wire.ask("POST", target, b"", BEARER).status == 400, target
        answer = wire.predict("iris", {"instances": iris.expected["rows"]})
        assert answer.status == 200 and answer.headers["x-modelserve-version"] == "1"
        rows = answer.json["predictions"]
        assert [row["label"] for row in rows] == iris.expected["labels"]
        assert wire.get("/health").status == wire.get("/v2/health/ready").status == 200
        *failed, first = wire.get("/v1/models/iris").json["model_version_status"]
        assert (first["version"], first["state"]) == ("1", "AVAILABLE")
        assert first["status"] == {"error_code": "OK", "error_message": ""}
        assert failed and all(entry["state"] == "END" for entry in failed), number
        assert all(entry["status"]["error_code"] == "FAILED_PRECONDITION" for entry in failed)
        assert all(entry["status"]["error_message"] for entry in failed)
    wire.close()
