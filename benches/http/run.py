"""Servers of one random forest, under wrk, in turns: requests a second, p50 and p99.

    python benches/http/run.py [--seconds 5] [--rounds 5] [--output FILE]

Needs wrk, fastapi, uvicorn, onnxruntime and scikit-learn. Each server is one Uvicorn process on the
first core; wrk has the second one. All are up all the time, and asked one after another in each
round, so that what disturbs the machine disturbs all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from train import train

HERE = Path(__file__).resolve().parent
SERVERS = {
    "FastAPI, pickled scikit-learn": "pickle_server",
    "FastAPI, onnxruntime": "onnxruntime_server",
    "FastAPI, modelserve router": "router_server",
    "FastAPI, onnxruntime, gc.freeze()": "frozen onnxruntime_server",
    "FastAPI, modelserve router, gc.freeze()": "frozen router_server",
    "modelserve asgi": "asgi_server",
}
BATCH = 100
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def pinned(core: int) -> list[str]:
    """The command's beginning that keeps it on one core, where that can be said."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") else []


class Server:
    """One Uvicorn process."""

    def __init__(self, module: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        frozen = module.removeprefix("frozen ")
        module = "frozen_server" if frozen != module else module
        command = [*pinned(0), sys.executable, "-m", "uvicorn", f"{module}:app"]
        command += ["--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        environment = {**os.environ, "MODEL_DIR": str(folder), "FROZEN": frozen}
        environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(command, cwd=HERE, env=environment)

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def wait(self, body: bytes) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                self.post("/predict", body)
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("a server does not start") from None
                time.sleep(0.1)


def wrk(port: int, path: str, body: Path, seconds: int, connections: int) -> tuple[float, ...]:
    """Requests a second, p50 and p99 in milliseconds; raises when a request failed."""
    command = [
        *pinned(1),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "30s",
    ]
    command += ["-s", str(HERE / "post.lua"), f"http://127.0.0.1:{port}{path}"]
    environment = {**os.environ, "BODY": str(body)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    out = run.stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    latencies = [re.search(rf"{p}%\s+([\d.]+)(us|ms|s)", out) for p in (50, 99)]
    if rate is None or None in latencies:
        raise RuntimeError(f"wrk said what cannot be read:\n{out}")
    return (float(rate[1]), *(float(found[1]) * UNITS[found[2]] for found in latencies if found))


def agree(servers: dict[str, Server], one: bytes, many: bytes) -> None:
    """Every server gives the same answers, or the comparison would mean nothing."""
    answers = {
        name: [server.post("/predict", one), *server.post("/predict/batch", many)["predictions"]]
        for name, server in servers.items()
    }
    truth = next(iter(answers.values()))
    for name, got in answers.items():
        for field in ("prediction", "probability"):
            np.testing.assert_allclose(
                [row[field] for row in got], [row[field] for row in truth], atol=1e-5, err_msg=name
            )


def measure(args: argparse.Namespace, folder: Path) -> str:
    train(folder, BATCH)
    one, many = folder / "one.json", folder / "batch.json"
    servers = {name: Server(module, folder) for name, module in SERVERS.items()}
    try:
        for server in servers.values():
            server.wait(one.read_bytes())
        agree(servers, one.read_bytes(), many.read_bytes())
        lines = []
        for title, path, body in (
            ("one row", "/predict", one),
            (f"{BATCH} rows", "/predict/batch", many),
        ):
            rounds: dict[str, list[tuple[float, ...]]] = {name: [] for name in servers}
            for turn in range(args.rounds + 1):
                for name, server in servers.items():
                    seconds = args.seconds if turn else 1
                    got = wrk(server.port, path, body, seconds, args.connections)
                    # The first turn warms up.
                    if turn:
                        rounds[name].append(got)
            median = {
                name: [statistics.median(column) for column in zip(*got, strict=True)]
                for name, got in rounds.items()
            }
            slowest = median["FastAPI, pickled scikit-learn"][0]
            lines += ["", f"| {title} | requests/s | p50 ms | p99 ms | times the first |"]
            lines += ["|---|---:|---:|---:|---:|"]
            for name, (rate, p50, p99) in median.items():
                ratio = rate / slowest
                lines.append(f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {ratio:.1f} |")
        return "\n".join(lines)
    finally:
        for server in servers.values():
            server.process.terminate()
        for server in servers.values():
            server.process.wait(30)


def cost_of_json(folder: Path) -> str:
    """What reading and writing JSON costs beside the prediction itself, in this process."""
    import modelserve as ms

    manager = ms.ModelManager()
    manager.load("forest", folder / "model.onnx")
    http = manager.http(default_model="forest")
    lines = ["", "| in one process, µs | through HTTP's JSON | the prediction alone |"]
    lines += ["|---|---:|---:|"]
    for title, path, file, field in (
        ("one row", "/predict", "one.json", "features"),
        (f"{BATCH} rows", "/predict/batch", "batch.json", "instances"),
    ):
        body = (folder / file).read_bytes()
        rows = np.array(json.loads(body)[field], dtype=np.float32)
        ask = manager.predict if rows.ndim == 1 else manager.predict_batch
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(2000 if rows.ndim == 1 else 200):
            begin = time.perf_counter()
            http.handle("POST", path, [], body)
            middle = time.perf_counter()
            ask("forest", rows)
            took[0].append(middle - begin)
            took[1].append(time.perf_counter() - middle)
        through, alone = (statistics.median(t) * 1e6 for t in took)
        lines.append(f"| {title} | {through:.1f} | {alone:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        text = measure(args, Path(name)) + "\n" + cost_of_json(Path(name))
    header = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
    header += f"{args.connections} connections, {args.rounds} rounds of {args.seconds} s"
    print(header + "\n" + text)
    if args.output:
        args.output.write_text(f"{header}\n{text}\n")


if __name__ == "__main__":
    main()
