"""HTTP requests as bytes in, responses as bytes out."""

from __future__ import annotations

import asyncio
import json
import struct
import threading

import pytest
from conftest import Case

import modelserve as ms


def body_of(case: Case, rows: int = 1) -> bytes:
    return json.dumps({"instances": case.expected["rows"][:rows]}).encode()


def test_the_protocols_answer(manager: ms.ModelManager, iris: Case) -> None:
    status, headers, body = manager.http_handle("POST", "/predict", [], b"{}")
    assert (status, json.loads(body)) == (503, {"detail": "Model not loaded"})
    manager.load("iris", iris.path)
    status, headers, body = manager.http_handle(
        "POST", "/v1/models/iris:predict", [("Content-Type", "application/json")], body_of(iris, 5)
    )
    assert status == 200 and ("x-modelserve-version", "1") in headers
    labels = [row["label"] for row in json.loads(body)["predictions"]]
    assert labels == iris.expected["labels"][:5]
    row = bytearray(json.dumps({"features": iris.expected["rows"][0]}).encode())
    status, _, body = manager.http_handle("POST", "/predict", body=row)
    assert (status, json.loads(body)["prediction"]) == (200, iris.expected["labels"][0])
    assert manager.http_handle("GET", "/v2/health/ready")[0] == 200
    assert b"modelserve_requests_total" in manager.http_handle("GET", "/metrics")[2]


def test_binary_tensors(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    blob = struct.pack("<4f", *iris.expected["rows"][0])
    request = {
        "inputs": [
            {
                "name": "X",
                "shape": [1, 4],
                "datatype": "FP32",
                "parameters": {"binary_data_size": len(blob)},
            }
        ],
        "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(request).encode()
    status, headers, body = manager.http_handle(
        "POST",
        "/v2/models/iris/infer",
        [("Inference-Header-Content-Length", str(len(head)))],
        head + blob,
    )
    assert status == 200
    length = int(dict(headers)["Inference-Header-Content-Length"])
    assert struct.unpack("<q", body[length:]) == (iris.expected["labels"][0],)


def test_it_can_be_awaited(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)

    async def work() -> None:
        ask = (
            manager.http_handle_async("POST", "/v1/models/iris:predict", body=body_of(iris))
            for _ in range(50)
        )
        for status, _, body in await asyncio.gather(*ask):
            assert status == 200
            assert json.loads(body)["predictions"][0]["label"] == iris.expected["labels"][0]
        status, headers, _ = await manager.http_handle_async("GET", "/nothing", [])
        assert status == 404 and ("Content-Type", "application/json") in headers

    asyncio.run(asyncio.wait_for(work(), 120))


def test_arguments_of_other_types_are_refused(manager: ms.ModelManager) -> None:
    for wrong in ({"headers": [("a",)]}, {"body": "text"}, {"headers": [("a", 1)]}):
        with pytest.raises((TypeError, ValueError)):
            manager.http_handle("GET", "/", **wrong)  # type: ignore[arg-type]


def test_threads_ask_side_by_side(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    body, statuses = body_of(iris, 20), []

    def ask() -> None:
        for _ in range(50):
            statuses.append(manager.http_handle("POST", "/v1/models/iris:predict", [], body)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 200
