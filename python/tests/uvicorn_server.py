"""Uvicorn for the tests: an application in a thread, or a program of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import uvicorn

HANG = 60
REPOSITORY = Path(__file__).resolve().parents[2]


class Server:
    """Uvicorn on a port of its own, in a thread."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        config = uvicorn.Config(
            app, log_level="warning", lifespan="on", timeout_keep_alive=1, **options
        )
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],))
        self.thread.start()
        end = time.monotonic() + HANG
        while not self.uvicorn.started:
            assert self.thread.is_alive() and time.monotonic() < end, "the server does not start"
            time.sleep(0.01)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(HANG)
        assert not self.thread.is_alive()


class Program:
    """`uvicorn module:app` as a user starts it."""

    def __init__(self, folder: Path, app: str, environment: Mapping[str, str]) -> None:
        # The socket is handed over: no port can be taken meanwhile.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder), app]
            self.process = subprocess.Popen(
                [*command, "--fd", str(listening.fileno())],
                pass_fds=[listening.fileno()],
                env={**os.environ, "PYTHONPATH": str(REPOSITORY / "python"), **environment},
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        end = time.monotonic() + HANG
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server does not start: {self.stop()}")
            try:
                requests.get(f"{self.url}/health", timeout=HANG)
                return
            except requests.ConnectionError:
                time.sleep(0.05)

    def stop(self) -> str:
        """Ends it; what it has written to stderr."""
        self.process.terminate()
        try:
            _, text = self.process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, text = self.process.communicate()
        return text
