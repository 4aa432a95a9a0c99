"""The clients, against real servers: answers, types, versions, fallbacks."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Case, case
from http_front import HANG, Front, listening
from onnx import TensorProto, helper

import modelserve as ms
from modelserve.client import (
    Answer,
    AsyncClient,
    AsyncRemoteFallback,
    Client,
    RemoteFallback,
    Retry,
    v1,
    v2,
)
from modelserve.client import exchange as steps

PROTOCOLS = ["v1", "v2"]


@pytest.fixture(scope="module")
def manager() -> ms.ModelManager:
    manager = ms.ModelManager(keep_versions=2)
    manager.load("iris", case("iris_v1").path)
    manager.load_version("iris", case("iris_v2").path)
    manager.set_label("iris", "new", 2)
    for name in ("logistic_strings", "ridge", "xgb_regressor", "logistic_zipmap"):
        manager.load(name, case(name).path)
    return manager


@pytest.fixture(scope="module")
def served(manager: ms.ModelManager) -> Iterator[tuple[Front, str]]:
    front = Front(ms.asgi(manager))
    with listening(front) as url:
        yield front, url


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_remote_answers_are_the_local_ones(
    manager: ms.ModelManager, url: str, protocol: Any
) -> None:
    with Client(url, protocol=protocol) as client:
        for name in ("iris", "logistic_strings", "ridge", "xgb_regressor", "logistic_zipmap"):
            rows = case("iris_v1" if name == "iris" else name).rows
            remote, local = client.predict_batch(name, rows), manager.predict_batch(name, rows)
            if local.classes is None:
                np.testing.assert_allclose(remote.predictions, local.predictions, rtol=1e-6)
                assert remote.probabilities is None
            else:
                assert remote.predictions.tolist() == local.predictions.tolist()
            if protocol == "v2" and local.probabilities is not None:
                np.testing.assert_array_equal(remote.probabilities, local.probabilities)
            assert (remote.model, remote.model_version, remote.route) == (name, 1, "stable")
            assert remote.attempts == 1 and remote.latency_ms > 0
            one = client.predict(name, rows[0].tolist())
            if local.classes is not None:
                assert one.prediction == local.predictions[0]
        assert client.is_ready("iris") and not client.is_ready("nobody")
        assert client.is_ready("iris", version=2) and not client.is_ready("iris", version=3)
        assert "X" in json.dumps(client.metadata("iris"))


def test_versions_labels_keys_and_outputs(url: str, front: Front, iris_v2: Case) -> None:
    truth = iris_v2.expected["labels"]
    with Client(url, token="s3cret", headers={"x-team": "flowers"}) as client:
        assert client.is_ready()
        answer = client.infer(
            "iris", {"X": iris_v2.rows}, ["label"], version=2, key="u", priority=1
        )
        assert answer.outputs["label"].tolist() == truth and list(answer.outputs) == ["label"]
        assert answer.model_version == 2
        sent = front.headers[-1]
        assert sent["authorization"] == "Bearer s3cret" and sent["x-team"] == "flowers"
        assert sent["x-modelserve-key"] == "u"
        with pytest.raises(ms.InvalidArgumentError, match="label"):
            client.infer("iris", iris_v2.rows, label="new")
    with Client(url, protocol="v1") as client:
        answer = client.infer("iris", iris_v2.rows, ["label"], label="new")
        assert answer.outputs["label"].tolist() == truth and answer.model_version == 2
        columns = client.infer("iris", {"X": iris_v2.rows}, version=2)
        assert columns.predictions.tolist() == truth
        with pytest.raises(ms.InvalidArgumentError, match="priority"):
            client.infer("iris", iris_v2.rows, priority=1)
        with pytest.raises(ms.InvalidArgumentError, match="name one"):
            client.is_ready()


def test_every_type_goes_both_ways() -> None:
    """A model that answers its inputs, one of each type."""
    types = {
        "f4": TensorProto.FLOAT,
        "f8": TensorProto.DOUBLE,
        "f2": TensorProto.FLOAT16,
        "i1": TensorProto.INT8,
        "i2": TensorProto.INT16,
        "i4": TensorProto.INT32,
        "i8": TensorProto.INT64,
        "u1": TensorProto.UINT8,
        "u2": TensorProto.UINT16,
        "u4": TensorProto.UINT32,
        "u8": TensorProto.UINT64,
        "?": TensorProto.BOOL,
        "O": TensorProto.STRING,
    }
    ins, outs, nodes, inputs = [], [], [], {}
    for at, (dtype, kind) in enumerate(types.items()):
        ins.append(helper.make_tensor_value_info(f"x{at}", kind, [None, 2]))
        outs.append(helper.make_tensor_value_info(f"y{at}", kind, [None, 2]))
        nodes.append(helper.make_node("Identity", [f"x{at}"], [f"y{at}"]))
        if dtype == "O":
            inputs[f"x{at}"] = np.array([["a", "Zürich"], ["", "東京"]], object)
        else:
            inputs[f"x{at}"] = np.array([[0, 1], [1, 100]]).astype(dtype)
    graph = helper.make_graph(nodes, "same", ins, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manager = ms.ModelManager()
    manager.load("same", model.SerializeToString())
    with listening(ms.asgi(manager)) as url, Client(url) as client:
        got = client.infer("same", inputs).outputs
        for at in range(len(types)):
            given, answered = inputs[f"x{at}"], got[f"y{at}"]
            assert answered.dtype == given.dtype and answered.flags.writeable
            np.testing.assert_array_equal(answered, given)
        # What is not in the machine's order, or not in one piece, is put so.
        odd = {**inputs, "x1": inputs["x1"].astype(">f8").T, "x5": inputs["x5"].T}
        got = client.infer("same", odd).outputs
        np.testing.assert_array_equal(got["y1"], odd["x1"])
        np.testing.assert_array_equal(got["y5"], odd["x5"])
        with pytest.raises(ms.InvalidInputError, match="complex64"):
            client.infer("same", {"x0": np.zeros((1, 2), np.complex64)})
        with pytest.raises(ms.InvalidInputError, match="x0, x1"):
            client.predict("same", [1, 2])


def test_threads_share_kept_connections(url: str, front: Front, iris: Case) -> None:
    with Client(url) as client:
        for _ in range(20):
            client.predict_batch("iris", iris.rows)
        assert len(front.peers) == 1
        wrong: list[Any] = []

        def ask() -> None:
            for _ in range(20):
                answer = client.predict_batch("iris", iris.rows)
                if answer.predictions.tolist() != iris.expected["labels"]:
                    wrong.append(answer)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        assert not wrong and len(front.peers) <= 5 and len(front.bodies) >= 100
    with pytest.raises(RuntimeError, match="closed"):
        client.predict_batch("iris", iris.rows)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tasks_ask_at_once(url: str, front: Front, iris: Case, protocol: Any) -> None:
    async def ask() -> list[Answer]:
        async with AsyncClient(url, protocol=protocol, retry=Retry(first=0.001)) as client:
            assert await client.is_ready("iris") and not await client.is_ready("nobody")
            assert "X" in json.dumps(await client.metadata("iris"))
            assert (await client.predict("iris", iris.rows[0])).prediction == 2
            front.instead = [(503, {})]
            asking = (client.predict_batch("iris", iris.rows) for _ in range(30))
            answers = await asyncio.gather(*asking)
            with pytest.raises(ms.NotFoundError):
                await client.predict("nobody", iris.rows[0])
            return answers

    answers = asyncio.run(ask())
    assert all(a.predictions.tolist() == iris.expected["labels"] for a in answers)
    assert sum(a.attempts for a in answers) == 31


def test_a_local_model_falls_back_to_the_remote_one(
    url: str, front: Front, iris: Case, iris_v2: Case
) -> None:
    local = ms.ModelManager()
    handle = local.load("iris", iris_v2.path)
    with Client(url, retry=Retry(attempts=1)) as client:
        model = RemoteFallback(handle, client, "iris")
        # As long as the local one answers, nobody else is asked.
        answer = model.predict_batch(iris.rows)
        assert answer.predictions.tolist() == iris_v2.expected["labels"] and not front.bodies
        # All time is kept for the remote one: the local one has none.
        hasty = RemoteFallback(handle, client, "iris", reserve=20)
        answer = hasty.predict_batch(iris.rows, timeout=20)
        assert isinstance(answer, Answer) and answer.model_version == 1
        assert answer.predictions.tolist() == iris.expected["labels"]
        assert hasty.run({"X": iris.rows}, timeout=20)["label"].tolist() == iris.expected["labels"]
        # What is wrong with the request is wrong everywhere.
        front.bodies.clear()
        with pytest.raises(ms.InvalidInputError):
            model.predict_batch([[1.0]])
        local.unload("iris")
        with pytest.raises(ms.NotFoundError):
            model.predict_batch(iris.rows)
        assert not front.bodies
        gone = RemoteFallback(handle, client, "iris", on={"NotFound"})
        assert gone.predict_batch(iris.rows).predictions.tolist() == iris.expected["labels"]
        # When both fail the caller hears of both.
        front.instead = [(503, {})]
        with pytest.raises(ms.NotFoundError) as caught:
            gone.predict_batch(iris.rows)
        assert "NotReadyError: not now" in caught.value.__notes__[0]


def test_the_same_awaited(url: str, front: Front, iris: Case, iris_v2: Case) -> None:
    handle = ms.ModelManager().load("iris", iris_v2.path)

    async def ask() -> None:
        async with AsyncClient(url, retry=Retry(attempts=1)) as client:
            model = AsyncRemoteFallback(handle, client, "iris", reserve=20)
            for answer in (
                await model.predict_batch(iris.rows, timeout=20),
                await AsyncRemoteFallback(handle, client, "iris").predict_batch(iris.rows),
            ):
                version = 1 if isinstance(answer, Answer) else 2
                truth = iris if version == 1 else iris_v2
                assert answer.predictions.tolist() == truth.expected["labels"]
            outputs = await model.run({"X": iris.rows}, timeout=20)
            assert outputs["label"].tolist() == iris.expected["labels"]
            front.instead = [(500, {})]
            with pytest.raises(ms.DeadlineExceededError) as caught:
                await model.run({"X": iris.rows}, timeout=20)
            assert "ExecutionError: not now" in caught.value.__notes__[0]
            with pytest.raises(ms.InvalidInputError):
                await AsyncRemoteFallback(handle, client, "iris").predict_batch([[1.0]])

    asyncio.run(ask())


def test_answers_of_other_kinds_of_servers() -> None:
    def response(body: bytes, **headers: str) -> steps.Response:
        return steps.Response(200, {k.replace("_", "-"): v for k, v in headers.items()}, body)

    # As the specification has it, without binary tensors.
    output = '{"name": "y", "datatype": "%s", "shape": [2, 1], "data": %s}'
    for datatype, data, kind in (("FP32", "[1, 2.5]", "f"), ("BYTES", '["a", "b"]', "O")):
        body = f'{{"model_name": "m", "outputs": [{output % (datatype, data)}]}}'
        found, version = v2.outputs(response(body.encode()))
        assert found["y"].shape == (2, 1) and found["y"].dtype.kind == kind and version is None
    for body in (
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"3",
        b'{"inputs": 3}',
        b'{"predictions": [{"a": 1}, 1]}',
    ):
        for read in (v1.outputs, v2.outputs):
            with pytest.raises(ms.NotReadyError, match="answer is not of"):
                read(response(body))
        with pytest.raises(ms.NotReadyError):
            v2.first_input(response(body))
        assert not v1.available(response(body))
    for body in (b'{"outputs": [{}]}', b'{"outputs": 3}'):
        with pytest.raises(ms.NotReadyError):
            v2.outputs(response(body))
    lie = {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 8}}
    header = json.dumps({"outputs": [lie]}).encode()
    lies = response(header + b"\xff\0\0\0abcd", inference_header_content_length=str(len(header)))
    with pytest.raises(ms.NotReadyError, match="beyond its tensor"):
        v2.outputs(lies)
    assert v1.outputs(response(b'{"predictions": [1.5, 2.5]}'))["output"].tolist() == [1.5, 2.5]
    assert v1.outputs(response(b'{"outputs": [[1]]}'))["output"].tolist() == [[1]]
    assert "<html>" in str(steps.refusal(steps.Response(502, {}, b"<html>")))


def test_what_cannot_be_asked_is_said_at_once(url: str, front: Front, iris: Case) -> None:
    with pytest.raises(ms.InvalidArgumentError, match="expected http://"):
        Client("localhost:8000")
    with pytest.raises(ms.InvalidArgumentError, match="'v3'"):
        Client(url, protocol="v3")  # type: ignore[arg-type]
    with (
        Client(url, max_answer_bytes=100) as client,
        pytest.raises(ms.LimitExceededError, match="100 bytes"),
    ):
        client.infer("iris", {"X": iris.rows})
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "from modelserve.client import Client\n"
        "try: Client('http://127.0.0.1:1')\n"
        "except ImportError as e: print(e)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert "pip install 'modelserve[client]'" in ran.stdout, ran.stderr
