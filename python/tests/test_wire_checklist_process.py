"""What holds of the process: memory, forks, and the C library's symbols; a test for each point."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Case
from layer_network import IN, LARGE, SMALL, Network
from wire_client import HANG, Wire

REPOSITORY = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> None:
    """Runs a program in a process of its own, which has to end well."""
    paths = [str(REPOSITORY / "python"), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr[-3000:]


UNLOAD = """
import gc, os, sys, time
from pathlib import Path
import modelserve as ms

large, small = map(Path, sys.argv[1:3])
row = [0.5] * {width}


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def settled(limit):
    # Free memory returns on another thread.
    end = time.monotonic() + 30
    while resident() > limit and time.monotonic() < end:
        time.sleep(0.01)
    return resident()


manager = ms.ModelManager()
# What threads, kernels and the first use of anything cost once is not the model's.
manager.load("small", small).predict(row)
manager.reload("small")
before = resident()
model = manager.load("m", large)
answer = model.predict(row).prediction
weights = model.info().weight_bytes
assert weights > 50e6
most, left = before + 0.9 * weights, before + weights / 8
assert resident() > most, (resident(), most)
snapshot, handle = manager.pin("m"), model.pin()
manager.unload("m")
for gone in (lambda: model.predict(row), lambda: manager.predict("m", row)):
    try:
        gone()
        raise AssertionError("it is unloaded")
    except ms.NotFoundError:
        pass
pins = [snapshot.model("m"), handle]
del snapshot, handle
while pins:
    # As long as one is left it answers as ever, and the memory stays.
    assert all(pin.predict(row).prediction == answer for pin in pins)
    gc.collect()
    # Were it let go, it would be gone by then.
    time.sleep(0.3)
    assert resident() > most, (len(pins), resident(), most)
    pins.pop()
gc.collect()
assert settled(left) <= left, (resident(), before, weights)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux' /proc")
def test_12_unload_while_pinned_returns_memory_after_the_last_pin(tmp_path: Path) -> None:
    Network.random(1, LARGE).save(tmp_path / "large")
    Network.random(2, SMALL).save(tmp_path / "small")
    files = [tmp_path / name / "model.safetensors" for name in ("large", "small")]
    run(UNLOAD.format(width=IN), *files)


FORK = """
import asyncio, json, os, signal, socket, sys
import uvicorn
import modelserve as ms

path, expected = sys.argv[1], json.loads(open(sys.argv[2]).read())
manager = ms.ModelManager()
manager.load("iris", path)
body = json.dumps({"instances": expected["rows"]}).encode()


def answers():
    status, _, answer = manager.http_handle("POST", "/v1/models/iris:predict", [], body)
    async def ask():
        return await manager.http_handle_async("POST", "/v1/models/iris:predict", body=body)
    same = (status, answer) == asyncio.run(ask())[::2]
    labels = [row["label"] for row in json.loads(answer)["predictions"]]
    return same and status == 200 and labels == expected["labels"]


# The parent has used its threads before it forks.
assert answers()
listener = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        assert answers()
        print(listener.getsockname()[1], os.getpid(), flush=True)
        config = uvicorn.Config(ms.asgi(manager), log_level="warning")
        uvicorn.Server(config).run([listener])
    except BaseException as e:
        # Uvicorn raises the signal again that has stopped it.
        print(repr(e), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGTERM), status
assert answers()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_13_fork_after_load_works(iris: Case, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORK, str(iris.path), str(iris.path.with_name("expected.json"))],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "python")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child = 0
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=HANG)[1][-3000:]
        port, child = map(int, line.split())
        wire = Wire(f"http://127.0.0.1:{port}")
        for _ in range(5):
            answer = wire.predict("iris", {"instances": iris.expected["rows"]})
            labels = [row["label"] for row in answer.json["predictions"]]
            assert answer.status == 200 and labels == iris.expected["labels"]
        wire.close()
        os.kill(child, signal.SIGTERM)
        errors = process.communicate(timeout=HANG)[1]
        assert process.returncode == 0, errors[-3000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_14_symbols_and_header_agree() -> None:
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    library = target / "debug" / "libmodelserve_c.so"
    if not library.exists():
        pytest.skip(f"{library} is not built (cargo build -p modelserve-c)")
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed (apt-get install binutils)")
    header = (REPOSITORY / "include" / "modelserve.h").read_text()
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    declared = set(re.findall(r"\b(modelserve_\w+)\s*\(", code))
    assert len(declared) > 50
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    kinds = {name: kind for _, kind, name in map(str.split, listed.stdout.splitlines())}
    # The header's functions, all of them and nothing else.
    assert set(kinds) == declared
    assert set(kinds.values()) == {"T"}
