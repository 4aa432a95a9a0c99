"""What a FastAPI route costs by how it handles a request, without a network.

python benches/fastapi_routes.py

Three ways answer the same requests: the bare ASGI application, `modelserve.fastapi.router`, and
routes that read bodies into pydantic models and write answers from them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

import modelserve as ms
from modelserve.fastapi import reference, router

MODEL = Path(__file__).resolve().parents[1] / "tests" / "data" / "iris_v1" / "model.onnx"
ROW = [5.9, 3.0, 5.1, 1.8]
#: Path, body, requests of a measurement.
ASKED = (
    ("/predict", json.dumps({"features": ROW}).encode(), 4000),
    ("/predict/batch", json.dumps({"instances": [ROW] * 1000}).encode(), 200),
)
REPEATS = 3


def typed(manager: ms.ModelManager) -> FastAPI:
    """The usual way to write such routes."""
    app = FastAPI()

    @app.post("/predict")
    async def predict(asked: reference.PredictionRequest) -> reference.PredictionResponse:
        answer = await manager.predict_async("iris", asked.features)
        return reference.PredictionResponse(
            prediction=answer.prediction,
            probability=answer.probability,
            model_version=str(answer.model_version),
            latency_ms=answer.latency_ms,
            request_id=asked.request_id,
        )

    @app.post("/predict/batch")
    async def predict_batch(
        asked: reference.BatchPredictionRequest,
    ) -> reference.BatchPredictionResponse:
        answers = await manager.predict_batch_async("iris", asked.instances)
        return reference.BatchPredictionResponse(
            predictions=[
                reference.RowPrediction(prediction=one.prediction, probability=one.probability)
                for one in answers
            ],
            model_version=str(answers.model_version),
            batch_size=len(answers),
            request_id=asked.request_id,
        )

    return app


async def ask(app: Any, path: str, body: bytes) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)


async def measure(app: Any, path: str, body: bytes, count: int, callers: int) -> float:
    async def work() -> None:
        for _ in range(count // callers):
            await ask(app, path, body)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(callers)))
    return count / (time.perf_counter() - begin)


async def main() -> None:
    manager = ms.ModelManager()
    manager.load("iris", MODEL)
    routed = FastAPI()
    routed.include_router(router(manager))
    ways = {"bare ASGI": ms.asgi(manager), "router": routed, "pydantic": typed(manager)}
    print("| request | callers | " + " | ".join(f"{way}, 1/s" for way in ways) + " |")
    print("|---|---:|" + "---:|" * len(ways))
    for path, body, count in ASKED:
        for callers in (1, 32):
            rates = []
            for app in ways.values():
                await measure(app, path, body, callers * 2, callers)
                runs = [await measure(app, path, body, count, callers) for _ in range(REPEATS)]
                rates.append(f"{max(runs):,.0f}")
            print(f"| `{path}` | {callers} | " + " | ".join(rates) + " |")


if __name__ == "__main__":
    asyncio.run(main())
