"""The programs without Python: Rust and C, each beside onnxruntime's C interface."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import Case
from engines import open_ours

KEYS = ("logistic", "scaled", "mlp", "forest100")
PROGRAMS = {"Rust": "one_row_rust", "C": "one_row_c"}


def onnxruntime_library() -> Path:
    """The shared library within onnxruntime's wheel."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    found = [path for path in folder.glob("libonnxruntime.so*") if path.is_file()]
    if not found:
        raise FileNotFoundError(f"no libonnxruntime.so in {folder}")
    return found[0]


def arguments(case: Case) -> list[str]:
    """A case for the programs: key, our file, the ONNX file, rows, width."""
    source = case.folder / open_ours(case, 1)[1]
    rows = case.folder / "rows.f32"
    return [case.kind.key, str(source), str(case.onnx), str(rows), str(case.rows.shape[1])]


def measure(folder: Path, cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """What each program says of each case."""
    found = []
    for language, program in PROGRAMS.items():
        path = folder / program
        if not path.exists():
            print(f"not measured: there is no {path}", file=sys.stderr)
            continue
        for case in cases:
            command = [str(path), str(onnxruntime_library()), str(rounds), *arguments(case)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode != 0:
                print(f"FAIL {language}, {case.kind.title}: {run.stderr.strip()}", flush=True)
                found.append({"language": language, "case": case.kind.key, "error": run.stderr})
                continue
            figures = json.loads(run.stdout)
            found.append({"language": language, "case": case.kind.key, **figures})
            ours, theirs = (
                statistics.median(figures["row_ns"][name]) for name in ("modelserve", "onnxruntime")
            )
            print(f"{language}, {case.kind.title}: {ours:,.0f} ns, {theirs / ours:.2f}", flush=True)
    return found
