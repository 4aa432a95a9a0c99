"""Load time and memory of an engine, each in a fresh process.

python memory.py ENGINE KEY FOLDER COPIES      (prints JSON; what `measure` starts)
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cases import KINDS, Case
from engine import Engine, Refused
from registry import ENGINES

#: Rows of the batch whose peak is measured.
BATCH = 1024
#: Copies of a model; fewer of the largest ones.
COPIES, LARGE_COPIES, LARGE_NODES = 11, 4, 100_000


def _status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _resident() -> int:
    """Resident bytes, after what is free was given back."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # where the C library is another than glibc
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def child(engine_name: str, key: str, folder: Path, copies: int) -> dict[str, Any]:
    """Loads `copies` models; the first one's load is timed and answers a batch."""
    kind = next(kind for kind in KINDS if kind.key == key)
    case = Case.open(kind, folder)
    engine_type = ENGINES[engine_name]
    for module in engine_type.libraries:
        importlib.import_module(module)
    case.first(BATCH)
    before = _resident()
    start = time.perf_counter()
    models: list[Engine] = [engine_type(case, 1)]
    load_ms = (time.perf_counter() - start) * 1000
    try:
        prepared = models[0].prepare("batch", BATCH)
    except Refused:
        prepared = models[0].prepare("row", 1)
    prepared.call(prepared.items[0])
    del prepared
    peak = _status("VmHWM") - before
    one = _resident()
    models.extend(engine_type(case, 1) for _ in range(copies - 1))
    each = (_resident() - one) / max(1, copies - 1)
    return {"load_ms": load_ms, "peak_bytes": peak, "bytes_each": each}


def measure(engine: type[Engine], case: Case, children: int) -> dict[str, Any]:
    """The medians of fresh processes; `error` where one failed."""
    copies = LARGE_COPIES if case.nodes() > LARGE_NODES else COPIES
    arguments = [engine.name, case.kind.key, str(case.folder), str(copies)]
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    found = []
    for _ in range(children):
        run = subprocess.run(command, capture_output=True, text=True, env=os.environ.copy())
        if run.returncode != 0:
            return {"error": run.stderr.strip().splitlines()[-1] if run.stderr else "failed"}
        found.append(json.loads(run.stdout.splitlines()[-1]))
    return {
        name: statistics.median(one[name] for one in found)
        for name in ("load_ms", "peak_bytes", "bytes_each")
    }


if __name__ == "__main__":
    name, case_key, path, number = sys.argv[1:]
    print(json.dumps(child(name, case_key, Path(path), int(number))))
