"""A real Ray of two CPUs: Serve changes models under load, Data scores a million rows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import modelserve as ms
from modelserve.columns import ColumnScorer
from modelserve.ray import ModelDeployment, Predictor, deployment

ray = pytest.importorskip("ray", reason="needs ray[serve,data]")
serve = pytest.importorskip("ray.serve", reason="needs ray[serve]")
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
from ray.serve.context import _get_global_client  # noqa: E402
from ray.serve.schema import ServeDeploySchema  # noqa: E402

DATA = Path(__file__).resolve().parents[3] / "tests" / "data"
MODELS = [DATA / "iris_v1" / "model.onnx", DATA / "iris_v2" / "model.onnx"]
EXPECTED = [json.loads(path.with_name("expected.json").read_text()) for path in MODELS]
ROWS = np.array(EXPECTED[0]["rows"], np.float32)
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
MANY = 1_000_000
HANG = 240


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=256 << 20)
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def port(cluster: None) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        yield port
    finally:
        serve.shutdown()


def _deploy(path: Path, **changed: Any) -> None:
    """What `serve deploy` does with a configuration that has another `user_config`."""
    config = {
        "name": "flowers",
        "route_prefix": "/flowers",
        "import_path": "modelserve.ray:app",
        "args": {
            "path": str(MODELS[0]),
            "name": "iris",
            "http": {"management": False},
            "ray_actor_options": {"num_cpus": 0.1},
        },
        "deployments": [{"name": "iris", "user_config": {"path": str(path), **changed}}],
    }
    _get_global_client().deploy_apps(ServeDeploySchema(applications=[config]))


def _await(what: str, holds: Any) -> None:
    end = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < end, f"{what}: {serve.status().applications}"
        time.sleep(0.1)


def test_serve_reconfigures_under_load_without_a_failed_request(port: int) -> None:
    model = f"http://127.0.0.1:{port}/flowers/v1/models/iris"
    url = f"{model}:predict"
    _deploy(MODELS[0])
    _await("start", lambda: httpx.get(model, timeout=HANG).status_code == 200)
    truth = [one["labels"] for one in EXPECTED]
    stop, wrong, seen, asked = threading.Event(), [], set(), [0]

    def ask() -> None:
        with httpx.Client(timeout=HANG) as client:
            while not stop.is_set():
                response = client.post(url, json={"instances": ROWS.tolist()})
                version = int(response.headers.get("x-modelserve-version", 0))
                labels = [row["label"] for row in response.json().get("predictions", [])]
                # The first file is answered by odd versions, the second by even ones.
                if response.status_code != 200 or labels != truth[(version + 1) % 2]:
                    wrong.append((response.status_code, version, response.text[:200]))
                seen.add(version)
                asked[0] += 1

    def serving() -> int:
        handle = serve.get_app_handle("flowers")
        return int(handle.predict.remote(ROWS[0].tolist()).result(timeout_s=HANG)["model_version"])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        _await("first answers", lambda: asked[0] > 20)
        for version in range(2, 8):
            path = MODELS[(version + 1) % 2]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            _deploy(path, digest=digest)
            # Versions count on: the replica was not started anew.
            _await(f"version {version}", lambda version=version: version in seen)
            assert serving() == version
            enough = asked[0] + 40
            _await("answers", lambda enough=enough: asked[0] >= enough)
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANG)
    assert not wrong, wrong[:3]
    assert seen == set(range(1, 8)) and asked[0] >= 260
    # What cannot be right is refused, and what serves goes on serving.
    handle = serve.get_app_handle("flowers")
    _deploy(MODELS[0], digest="0" * 64)
    _await("refusal", lambda: handle.status.remote().result(timeout_s=HANG)["error"])
    assert "SHA-256" in handle.status.remote().result(timeout_s=HANG)["error"]
    assert serving() == 7 and httpx.get(model, timeout=HANG).status_code == 200


def test_handles_predict_and_errors_keep_their_types(port: int, tmp_path: Path) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.iris]\npath = "{MODELS[0]}"\n[models.iris.cache]\n')
    app = deployment(config, name="iris", ray_actor_options={"num_cpus": 0.1})
    handle = serve.run(app, name="configured", route_prefix="/configured")
    try:
        one = handle.predict.remote(ROWS[0].tolist()).result(timeout_s=HANG)
        assert one["prediction"] == EXPECTED[0]["labels"][0]
        many = handle.predict_batch.remote(ROWS).result(timeout_s=HANG)
        assert many["predictions"].tolist() == EXPECTED[0]["labels"]
        np.testing.assert_array_equal(many["probabilities"], ms.load(MODELS[0]).predict_proba(ROWS))
        with pytest.raises(ms.InvalidInputError):
            handle.predict.remote([1.0]).result(timeout_s=HANG)
        answer = httpx.get(f"http://127.0.0.1:{port}/configured/v2/models/iris", timeout=HANG)
        assert answer.json()["inputs"][0]["name"] == "X"
    finally:
        serve.delete("configured")


def test_a_replica_keeps_what_serves_when_a_change_fails() -> None:
    async def change() -> None:
        replica = ModelDeployment("iris", {})
        with pytest.raises(ms.NotReadyError, match="user_config"):
            replica.check_health()
        for bad in ({}, {"path": str(MODELS[0]), "pth": 1}):
            with pytest.raises(ms.InvalidArgumentError, match="user_config"):
                await replica.reconfigure(bad)  # type: ignore[arg-type]
        await replica.reconfigure({"path": str(MODELS[0])})
        replica.check_health()
        for bad, why in (
            ({"path": str(MODELS[1]), "digest": "0" * 64}, "DigestMismatchError"),
            ({"path": str(MODELS[1].with_name("none.onnx"))}, "NotFoundError"),
            ({"path": str(MODELS[1]), "policies": {"cash": True}}, "TypeError"),
        ):
            await replica.reconfigure(bad)  # type: ignore[arg-type]
            replica.check_health()
            assert replica.status()["error"].startswith(why)
            assert replica.status()["path"] == str(MODELS[0])
        answers = await replica.predict_batch(ROWS)
        assert answers["predictions"].tolist() == EXPECTED[0]["labels"]
        await replica.reconfigure({"path": str(MODELS[1]), "policies": {"cache": True}})
        answers = await replica.predict_batch(ROWS)
        assert answers["predictions"].tolist() == EXPECTED[1]["labels"]
        assert replica.status()["error"] is None

    asyncio.run(change())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(7)
    columns = {name: random.uniform(0.1, 8, MANY).astype(np.float32) for name in NAMES}
    path = tmp_path_factory.mktemp("table") / "flowers.parquet"
    frame = pd.DataFrame(columns).assign(row=np.arange(MANY))
    frame.to_parquet(path, row_group_size=MANY // 8)
    return path


def test_data_scores_a_million_rows_as_one_process_does(cluster: None, table: Path) -> None:
    digest = hashlib.sha256(MODELS[0].read_bytes()).hexdigest()
    scored = ray.data.read_parquet(str(table)).map_batches(
        Predictor,
        fn_constructor_kwargs={"path": str(MODELS[0]), "digest": digest, "columns": NAMES},
        batch_size=50_000,
        concurrency=2,
        # Two CPUs: what reads the file needs one, too.
        num_cpus=0.4,
    )
    # Ray's columns are Arrow's, of the same types.
    got = pd.concat(scored.iter_batches(batch_size=None, batch_format="pandas"))
    got = got.sort_values("row", ignore_index=True)
    assert len(got) == MANY
    whole = pd.read_parquet(table)
    alone = ColumnScorer(ms.load(MODELS[0]), columns=NAMES).score(whole)
    wanted = whole.assign(**alone)
    pd.testing.assert_frame_equal(got[list(wanted)].astype(wanted.dtypes), wanted)


def test_batches_of_every_format_are_scored() -> None:
    predictor = Predictor(MODELS[0], columns=NAMES, class_probability="p_")
    frame = pd.DataFrame(ROWS, columns=NAMES)
    arrays = {name: frame[name].to_numpy() for name in NAMES}
    for batch in (arrays, frame, pa.Table.from_pandas(frame)):
        scored = pd.DataFrame(predictor(batch)) if batch is arrays else predictor(batch)
        scored = scored.to_pandas() if isinstance(scored, pa.Table) else scored
        assert scored["prediction"].tolist() == EXPECTED[0]["labels"]
        np.testing.assert_allclose(
            scored[["p_0", "p_1", "p_2"]], EXPECTED[0]["probabilities"], atol=1e-5
        )
