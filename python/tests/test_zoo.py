"""A folder of models made elsewhere, with their recorded answers, where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


def run_zoo(*options: str) -> None:
    """Runs the zoo's own program with these options."""
    zoo = SHARED / "zoo"
    if not (zoo / "run_zoo.py").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no model zoo at {zoo}")
        pytest.skip(f"no model zoo at {zoo}")
    pytest.importorskip("onnx")
    command = [sys.executable, str(zoo / "run_zoo.py"), "--engine", "modelserve"]
    command += [*options, str(zoo)]
    run = subprocess.run(command, timeout=600, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]


def test_classical_models_of_the_zoo_pass() -> None:
    run_zoo("--kind", "classical", "--min-pass", "50")


def test_a_network_of_layers_passes() -> None:
    name = "silero_vad_16k_safetensors"
    config = DATA / "layers" / "silero_vad_16k"
    run_zoo("--only", name, "--beside", f"{name}={config}", "--min-pass", "1")


def test_a_folder_of_hugging_face_passes() -> None:
    """The package is not there as a rule: the variable says where it has been unpacked."""
    packages = os.environ.get("MODELSERVE_ZOO_PACKAGES")
    if packages is None:
        pytest.skip("MODELSERVE_ZOO_PACKAGES is not set")
    run_zoo("--only", "minilm_l6_safetensors", "--package-root", packages, "--min-pass", "1")
