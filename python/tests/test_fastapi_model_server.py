"""examples/fastapi_model_server, started as its README says: what is wrong with such servers."""

from __future__ import annotations

import asyncio
import importlib
import json
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Case
from event_loop import ticks_during
from uvicorn_server import HANG, REPOSITORY, Program

EXAMPLE = REPOSITORY / "examples" / "fastapi_model_server"
TOKEN = {"Authorization": "Bearer s3cret"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EXAMPLE / "models", tmp_path_factory.mktemp("served") / "models"))


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    environment = {"MODEL_ROOT": str(root), "MODEL_SERVER_TOKEN": "s3cret"}
    program = Program(EXAMPLE, "model_server:app", environment)
    yield program.url
    errors = program.stop()
    assert "Traceback" not in errors, errors
    assert "Application shutdown complete" in errors


def reload_to(url: str, path: str, headers: dict[str, str] = TOKEN) -> requests.Response:
    where = {"model_path": path}
    return requests.post(f"{url}/model/reload", params=where, headers=headers, timeout=HANG)


def count(url: str, series: str) -> float:
    """The sum of a metric over models and versions."""
    text = requests.get(f"{url}/metrics", timeout=HANG).text
    values = re.findall(rf"^{series}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values))


def test_the_routes_answer_with_the_same_fields(url: str, iris: Case) -> None:
    health = requests.get(f"{url}/health").json()
    assert health.keys() == {"status", "model_loaded", "uptime_seconds", "total_predictions"}
    assert health["status"] == "healthy" and health["model_loaded"] is True
    row = iris.rows[0].tolist()
    one = requests.post(f"{url}/predict", json={"features": row, "request_id": "a"}).json()
    assert one.keys() == {
        "prediction",
        "probability",
        "model_version",
        "latency_ms",
        "request_id",
    }
    assert (one["prediction"], one["request_id"]) == (iris.expected["labels"][0], "a")
    assert one["probability"] == pytest.approx(max(iris.expected["probabilities"][0]), abs=1e-5)
    body = {"instances": iris.rows.tolist()}
    many = requests.post(f"{url}/predict/batch", json=body).json()
    assert many.keys() == {"predictions", "model_version", "batch_size", "request_id"}
    assert [p["prediction"] for p in many["predictions"]] == iris.expected["labels"]
    assert many["predictions"][0].keys() == {"prediction", "probability"}
    assert many["batch_size"] == len(iris.rows)
    again = reload_to(url, "iris/1").json()
    assert again.keys() == {"status", "version"} and again["status"] == "reloaded"


def test_no_file_that_a_request_names_is_executed(url: str, root: Path, tmp_path: Path) -> None:
    run = tmp_path / "it_ran"

    class Payload:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return open, (str(run), "w")

    pickle.loads(pickle.dumps(Payload())).close()
    assert run.exists(), "the payload would not be noticed"
    run.unlink()
    (root / "evil.pkl").write_bytes(pickle.dumps(Payload()))
    (tmp_path / "outside.onnx").write_bytes((root / "iris" / "1" / "model.onnx").read_bytes())
    for path in ("evil.pkl", "../outside.onnx", str(tmp_path / "outside.onnx"), "/etc/passwd"):
        refused = reload_to(url, path)
        assert refused.status_code == (501 if path.endswith(".pkl") else 400), path
        assert str(root) not in refused.text and str(tmp_path) not in refused.json()["detail"]
    assert not run.exists()
    assert reload_to(url, "iris/2", headers={}).status_code == 401
    assert requests.get(f"{url}/health").json()["status"] == "healthy"


def test_the_model_runs_once_for_label_and_probability(url: str, iris: Case) -> None:
    before = count(url, "modelserve_infer_seconds_count")
    for _ in range(5):
        answer = requests.post(f"{url}/predict", json={"features": iris.rows[0].tolist()}).json()
        assert answer["probability"] is not None
    assert count(url, "modelserve_infer_seconds_count") - before == 5


def test_a_reload_changes_the_version(url: str, iris: Case, iris_v2: Case) -> None:
    row = {"features": iris.rows[0].tolist()}
    seen = []
    for path, case in (("iris/2", iris_v2), ("iris/1", iris)):
        reloaded = reload_to(url, path).json()["version"]
        answer = requests.post(f"{url}/predict", json=row).json()
        assert answer["model_version"] == reloaded
        assert answer["prediction"] == case.expected["labels"][0]
        seen.append(reloaded)
    assert len(set(seen)) == 2


def test_no_answer_is_of_one_version_with_the_name_of_another(
    url: str, iris: Case, iris_v2: Case
) -> None:
    # Their labels differ in every row; which file a version came from is known from its reload.
    truth: dict[str, list[Any]] = {}
    reloads = {"iris/1": iris.expected["labels"], "iris/2": iris_v2.expected["labels"]}
    truth[reload_to(url, "iris/1").json()["version"]] = reloads["iris/1"]
    answers: list[tuple[str, list[Any]]] = []
    stop = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                response = session.post(
                    f"{url}/predict/batch", json={"instances": iris.rows.tolist()}
                )
                answer = response.json()
                labels = [p["prediction"] for p in answer["predictions"]]
                answers.append((answer["model_version"], labels))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for k in range(30):
                path = "iris/2" if k % 2 == 0 else "iris/1"
                truth[reload_to(url, path).json()["version"]] = reloads[path]
        finally:
            stop.set()
        for asked in asking:
            asked.result(HANG)
    assert len({version for version, _ in answers}) > 1
    assert all(labels == truth[version] for version, labels in answers)


def test_predictions_are_counted_exactly(url: str, iris: Case) -> None:
    def total() -> int:
        return int(requests.get(f"{url}/health").json()["total_predictions"])

    before = total()

    def ask(_: int) -> None:
        with requests.Session() as session:
            for _ in range(20):
                session.post(f"{url}/predict", json={"features": iris.rows[0].tolist()})
                session.post(f"{url}/predict/batch", json={"instances": iris.rows[:4].tolist()})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert total() - before == 8 * 20 * (1 + 4)


def test_without_a_model_it_says_so_and_does_not_crash(url: str, iris: Case) -> None:
    models = f"{url}/v2/repository/models/iris"
    assert requests.post(f"{models}/unload", headers=TOKEN).status_code == 200
    try:
        health = requests.get(f"{url}/health")
        assert health.status_code == 503
        assert health.json()["status"] == "unhealthy" and health.json()["model_loaded"] is False
        for path, body in (
            ("/predict", {"features": iris.rows[0].tolist()}),
            ("/predict/batch", {"instances": iris.rows.tolist()}),
        ):
            answer = requests.post(url + path, json=body)
            assert (answer.status_code, answer.json()) == (503, {"detail": "Model not loaded"})
    finally:
        assert requests.post(f"{models}/load", headers=TOKEN).status_code == 200
    assert requests.get(f"{url}/health").status_code == 200


def test_a_server_without_its_model_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"model\.onnx") as raised:
        Program(EXAMPLE, "model_server:app", {"MODEL_ROOT": str(tmp_path)})
    assert "Application startup failed" in str(raised.value)


def test_the_event_loop_goes_on_while_a_long_batch_is_predicted(
    iris: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    app = importlib.import_module("model_server").app
    rows = (iris.rows.tolist() * 1000)[:40_000]

    async def work() -> None:
        async with app.router.lifespan_context(app):
            body = json.dumps({"instances": rows}).encode()
            status, ticks = await ticks_during(app, "/predict/batch", body)
            assert status == 200 and ticks > 10

    asyncio.run(asyncio.wait_for(work(), HANG))


@pytest.mark.parametrize("features", [[], [1.0], [1.0] * 5, ["a"] * 4, [[1.0] * 4], None])
def test_rows_that_do_not_fit_are_refused(url: str, features: Any) -> None:
    answer = requests.post(f"{url}/predict", json={"features": features})
    assert answer.status_code == 400 and answer.json()["detail"]


def test_other_sites_may_ask_without_credentials(url: str) -> None:
    headers = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    allowed = requests.options(f"{url}/predict", headers=headers)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in allowed.headers
