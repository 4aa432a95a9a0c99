"""The clients, against answers of other servers, malformed answers, and models that change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Case, case
from http_front import Front, listening
from onnx import TensorProto, helper

import modelserve as ms
from modelserve.client import AsyncClient, Client, RemoteFallback, Retry
from modelserve.client.exchange import Broken, Response, exchange
from modelserve.client.retry import Deadline

PROTOCOLS = ["v1", "v2"]
ROW = [5.9, 3.0, 5.1, 1.8]


def same(name: str, kind: int) -> bytes:
    """A model that answers its input `name`."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["y"])],
        "same",
        [helper.make_tensor_value_info(name, kind, [None, 1])],
        [helper.make_tensor_value_info("y", kind, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def manager() -> ms.ModelManager:
    manager = ms.ModelManager()
    manager.load("iris", case("iris_v1").path)
    manager.load("text", same("x", TensorProto.STRING))
    return manager


@pytest.fixture(scope="module")
def served(manager: ms.ModelManager) -> Iterator[tuple[Front, str]]:
    front = Front(ms.asgi(manager))
    with listening(front) as url:
        yield front, url


def answers(document: Any, status: int = 200, **headers: str) -> Callable[[Any], Any]:
    """What sends a document, or bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def answer(send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return answer


def test_all_forms_of_the_open_inference_protocol_are_read(url: str, front: Front) -> None:
    output: dict[str, Any] = {"name": "y", "datatype": "INT64", "shape": [2, 1], "data": [3, 4]}
    with Client(url) as client:
        for document, version in (
            ({"model_version": None, "id": None}, None),
            ({"model_version": 3, "parameters": None}, 3),
            ({"model_version": "3", "parameters": {"content_type": "np"}}, 3),
            ({"model_version": "v0.1.0"}, None),
            ({}, None),
        ):
            for more in (
                {"parameters": None},
                {"parameters": {"content_type": "np"}},
                {"data": [[3], [4]]},
                {"data": [3.0, 4.0]},
            ):
                front.instead = [
                    answers({"model_name": "m", **document, "outputs": [output | more]})
                ]
                answer = client.infer("m", {"x": np.zeros((2, 1))})
                assert answer.outputs["y"].tolist() == [[3], [4]]
                assert answer.outputs["y"].dtype == np.int64 and answer.model_version == version

        def answered(datatype: str, data: Any) -> np.ndarray:
            one = {"name": "y", "datatype": datatype, "shape": [len(data)], "data": data}
            front.instead = [answers({"outputs": [one]})]
            return client.infer("m", {"x": np.zeros(1)}).outputs["y"]

        np.testing.assert_array_equal(answered("FP32", [None, 0.1]), np.float32([np.nan, 0.1]))
        np.testing.assert_array_equal(answered("FP32", ["NaN", "Infinity"]), [np.nan, np.inf])
        assert answered("UINT64", [2**64 - 1, 1]).tolist() == [2**64 - 1, 1]
        assert answered("INT64", [2**62 + 1, -1]).tolist() == [2**62 + 1, -1]
        assert answered("BOOL", [True, False]).tolist() == [True, False]
        # What is no text comes as it is.
        one = {"name": "y", "datatype": "BYTES", "shape": [2]}
        one["parameters"] = {"binary_data_size": 10}
        header = json.dumps({"outputs": [one]}).encode()
        body = header + b"\1\0\0\0\xff\1\0\0\0a"
        front.instead = [answers(body, inference_header_content_length=str(len(header)))]
        assert client.infer("m", {"x": np.zeros(1)}).outputs["y"].tolist() == [b"\xff", "a"]


def test_metadata_of_other_servers_are_read(url: str, front: Front) -> None:
    output = {"name": "y", "datatype": "FP32", "shape": [1], "data": [1.0]}
    one = {"name": "x", "datatype": "FP32", "shape": [-1, 2], "parameters": None}
    with Client(url) as client:
        # A type that is not the protocol's: arrays go as they are.
        for at, found in enumerate((one, one | {"datatype": "BF16"}, {"name": "x"})):
            front.instead = [
                answers({"name": "m", "versions": None, "inputs": [found], "outputs": None}),
                answers({"outputs": [output]}),
            ]
            assert client.predict(f"m{at}", [1.0, 2.0]).prediction == 1
        for document in ({"name": "m"}, {"inputs": None}, {"inputs": []}):
            front.instead = [answers(document)]
            with pytest.raises(ms.InvalidInputError, match="does not say") as caught:
                client.predict("none", [1.0])
            assert caught.value.model == "none"
        for document in ([], {"inputs": 3}, {"inputs": [{}]}, b"[" * 100_000):
            front.instead = [answers(document)]
            with pytest.raises(ms.NotReadyError, match="metadata are not"):
                client.predict("none", [1.0])
        for document in ([], b"[" * 100_000):
            front.instead = [answers(document)]
            with pytest.raises(ms.NotReadyError, match="metadata are no JSON"):
                client.metadata("none")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_malformed_answers_are_errors_of_the_library(
    url: str, front: Front, protocol: Any, manager: ms.ModelManager
) -> None:
    wrong = {"name": "y", "datatype": "INT8", "shape": [1], "data": [300]}
    cases: list[tuple[Any, type[ms.ModelServeError], str]] = [
        (answers(b"not gzip", content_encoding="gzip"), ms.NotReadyError, "Content-Encoding"),
        (answers(b"[" * 100_000, 500), ms.ExecutionError, r"HTTP status 500"),
        (answers(b'{"error":' * 100_000, 400), ms.InvalidInputError, r"HTTP status 400"),
        (answers(b"[" * 100_000), ms.NotReadyError, "too deeply"),
        (answers({"outputs": [wrong]} if protocol == "v2" else {}), ms.NotReadyError, "answer is"),
        (answers({"outputs": [wrong | {"shape": [10**30]}], "x": 1}), ms.NotReadyError, "answer is")
        if protocol == "v2"
        else (answers({"predictions": [[1], 2]}), ms.NotReadyError, "answer is"),
    ]
    with Client(url, protocol=protocol, retry=Retry(attempts=1)) as client:
        for instead, error, told in cases:
            front.instead = [instead]
            with pytest.raises(error, match=told) as caught:
                client.infer("iris", {"X": np.array([ROW])})
            assert caught.value.model == "iris"
        front.instead = [cases[0][0]]
        handle = ms.ModelManager().load("iris", case("iris_v2").path)
        fallback = RemoteFallback(handle, client, "iris", reserve=20)
        with pytest.raises(ms.DeadlineExceededError) as both:
            fallback.run({"X": np.array([ROW], np.float32)}, timeout=20)
        assert "NotReadyError: the answer of" in both.value.__notes__[0]

    async def ask() -> None:
        async with AsyncClient(url, protocol=protocol, retry=Retry(attempts=1)) as client:
            for instead, error, told in cases:
                front.instead = [instead]
                with pytest.raises(error, match=told):
                    await client.infer("iris", {"X": np.array([ROW])})

    asyncio.run(ask())


def test_what_cannot_be_sent_is_an_error_of_the_library(url: str) -> None:
    for seconds in (float("inf"), float("nan"), 1e9, 0, -1):
        with pytest.raises(ms.InvalidArgumentError, match="expected more than 0 seconds"):
            Client(url, timeout=seconds)
    with Client(url) as client, pytest.raises(ms.InvalidArgumentError, match="timeout = inf"):
        client.predict("iris", ROW, timeout=float("inf"))
    for protocol in PROTOCOLS:
        with (
            Client(url, protocol=protocol) as client,  # type: ignore[arg-type]
            pytest.raises(ms.InvalidArgumentError, match="ASCII"),
        ):
            client.predict("iris", ROW, key="Zürich")
    with pytest.raises(ms.InvalidArgumentError, match="http://a:b"):
        Client("http://a:b")
    with Client(url, protocol="v1") as client:
        for rows in (np.array([[1, 2j]]), np.array([["2024-01-01"]], "M8[s]")):
            with pytest.raises(ms.InvalidInputError, match="carries no") as caught:
                client.predict_batch("iris", rows)
            assert caught.value.model == "iris"
        with pytest.raises(ms.InvalidInputError, match="no array"):
            client.predict_batch("iris", [[1, 2], [3]])


def test_bytes_and_texts_go_both_ways_in_v1(url: str, front: Front) -> None:
    with Client(url, protocol="v1") as client:
        for rows in (np.array([[b"a"], [b"b"]]), [[b"a"], ["b"]], [["a"], ["b"]]):
            assert client.predict_batch("text", rows).predictions.tolist() == ["a", "b"]
        assert b'{"b64": "YQ=="}' in front.bodies[0]
        texts = [{"b64": "YQ=="}, {"b64": "/wA="}]
        for document, name in (
            ({"predictions": texts}, "output"),
            ({"predictions": [{"t": text} for text in texts]}, "t"),
            ({"outputs": texts}, "output"),
            ({"outputs": {"t": texts}}, "t"),
        ):
            front.instead = [answers(document)]
            outputs = client.infer("text", [["a"]]).outputs
            assert list(outputs) == [name] and outputs[name].tolist() == ["a", b"\xff\0"]
        front.instead = [answers({"predictions": [{"b64": "*"}]})]
        with pytest.raises(ms.NotReadyError, match="answer is not"):
            client.infer("text", [["a"]])


def test_wanted_outputs_are_answered_or_missed_in_v1(url: str, manager: ms.ModelManager) -> None:
    with Client(url, protocol="v1") as client:
        # The protocol does not name a model's only output.
        answer = client.infer("text", [["a"]], outputs=["y"])
        assert answer.outputs["y"].tolist() == [["a"]] and list(answer.outputs) == ["y"]
        assert list(client.infer("text", [["a"]]).outputs) == ["output"]
        assert list(client.infer("iris", [ROW], outputs=["label"]).outputs) == ["label"]
        for model, row, wanted in (("text", ["a"], ["y", "z"]), ("iris", ROW, ["label", "z"])):
            with pytest.raises(ms.NotFoundError, match=r"not .*z") as caught:
                client.infer(model, [row], outputs=wanted)
            assert caught.value.model == model


def test_a_model_with_another_input_is_found() -> None:
    manager = ms.ModelManager()
    manager.load("m", same("x", TensorProto.INT32))
    front = Front(ms.asgi(manager))

    def replace(name: str, kind: int) -> None:
        manager.unload("m")
        manager.load("m", same(name, kind))

    async def ask_async(url: str) -> Any:
        async with AsyncClient(url) as client:
            await client.predict("m", [1])
            replace("w", TensorProto.DOUBLE)
            return (await client.predict("m", [2.5])).outputs["y"].tolist()

    with listening(front) as url, Client(url) as client:
        assert client.predict("m", [1]).outputs["y"].tolist() == [[1]]
        # Refused by the server, and by what is known of the model.
        replace("z", TensorProto.INT32)
        assert client.predict("m", [1]).outputs["y"].tolist() == [[1]]
        replace("z", TensorProto.DOUBLE)
        assert client.predict("m", [2.5]).outputs["y"].tolist() == [[2.5]]
        # A bad request is refused as before, sent once, and asked about once.
        front.bodies.clear()
        with pytest.raises(ms.InvalidInputError, match="HTTP status 400"):
            client.predict("m", [1, 2, 3])
        assert [bool(body) for body in front.bodies] == [True, False]
        manager.unload("m")
        with pytest.raises(ms.NotFoundError):
            client.predict("m", [1])
        manager.load("m", same("q", TensorProto.INT32))
        assert client.predict("m", [1]).outputs["y"].tolist() == [[1]]
        assert asyncio.run(ask_async(url)) == [[2.5]]


class Coarse(asyncio.SelectorEventLoop):
    """An event loop whose timers come up to 0.2 s early; those of others do by a millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = 0.2


def test_a_timer_that_is_early_is_the_deadline(url: str, front: Front, iris: Case) -> None:
    async def silence(send: Any) -> None:
        await asyncio.sleep(2)

    async def ticks() -> None:
        while True:
            await asyncio.sleep(0.01)

    async def ask() -> None:
        ticking = asyncio.create_task(ticks())
        async with AsyncClient(url) as client:
            await client.infer("iris", {"X": iris.rows})
            front.instead = [silence]
            with pytest.raises(ms.DeadlineExceededError, match=r"within 0\.4 s"):
                await client.infer("iris", {"X": iris.rows}, timeout=0.4)
        ticking.cancel()

    with asyncio.Runner(loop_factory=Coarse) as runner:
        runner.run(ask())
    # As a step: there is time left, and the deadline has ended the try.
    asking = exchange(lambda _: None, Retry(), Deadline(60), "m")  # type: ignore[arg-type, return-value]
    next(asking)
    with pytest.raises(ms.DeadlineExceededError):
        asking.send(Broken("silence", sent=True, late=True))
    assert Response(200, {}, b"3").json() == 3
