"""A folder of models made elsewhere, with their recorded answers, where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def test_classical_models_of_the_zoo_pass() -> None:
    zoo = SHARED / "zoo"
    if not (zoo / "run_zoo.py").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no model zoo at {zoo}")
        pytest.skip(f"no model zoo at {zoo}")
    pytest.importorskip("onnx")
    command = [sys.executable, str(zoo / "run_zoo.py"), "--engine", "modelserve"]
    command += ["--kind", "classical", "--min-pass", "50", str(zoo)]
    run = subprocess.run(command, timeout=600, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
