"""A folder of models made elsewhere, with their recorded answers, where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT.parent / "shared" / "zoo"
#: A network of layers that no published file describes, with the description written here.
NETWORK = "silero_vad_16k_safetensors"


def absent(what: str) -> None:
    """Skips the test; under CI it has to run."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def packages() -> Path:
    """A folder with the models that are not in the zoo but in packages of PyPI."""
    folder = ROOT / "build" / "zoo-packages"
    models = json.loads((ZOO / "manifest.json").read_text())["models"]
    wanted = {f"{m['package']}=={m['version']}": m["package_path"] for m in models if not m["file"]}
    missing = [name for name, path in wanted.items() if not (folder / path).exists()]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        run = subprocess.run([*command, "--target", str(folder), *missing], check=False)
        if run.returncode != 0:
            absent(f"pip cannot install {', '.join(missing)}")
    return folder


def run_zoo(*options: str) -> str:
    """Runs the zoo's own program with these options."""
    if not (ZOO / "run_zoo.py").exists():
        absent(f"no model zoo at {ZOO}")
    pytest.importorskip("onnx")
    command = [sys.executable, str(ZOO / "run_zoo.py"), "--engine", "modelserve"]
    command += [*options, str(ZOO)]
    run = subprocess.run(command, timeout=1200, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    return run.stdout


def test_every_model_of_the_zoo_passes() -> None:
    if not ZOO.exists():
        absent(f"no model zoo at {ZOO}")
    description = ROOT / "tests" / "data" / "layers" / "silero_vad_16k"
    told = run_zoo("--beside", f"{NETWORK}={description}", "--package-root", str(packages()))
    assert " 0 failed, 0 skipped" in told.splitlines()[-1], told[-4000:]
