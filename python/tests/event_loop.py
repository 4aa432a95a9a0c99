"""Whether an event loop goes on while an ASGI application answers."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any


async def ticks_during(app: Any, path: str, body: bytes) -> tuple[int, int]:
    """The status of a POST, and how often the loop came round from its body to its answer."""
    ticks = 0
    begin = end = 0
    status = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def receive() -> dict[str, Any]:
        nonlocal begin
        begin = ticks
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, end
        if message["type"] == "http.response.start":
            status, end = message["status"], ticks

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    ticking = asyncio.create_task(tick())
    try:
        await app(scope, receive, send)
    finally:
        ticking.cancel()
    return status, end - begin
