"""Loading the model that a command names."""

from __future__ import annotations

from pathlib import Path

from .._native import Model, TensorSpec, load
from .output import CommandError

_FILES = ("model.onnx", "model.safetensors", "model.ubj", "model.json", "model.txt")


def model_file(given: str) -> Path:
    """The model file that `given` means: itself, or the one in the folder it is."""
    path = Path(given)
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} files *.onnx" if found else "no model"
    raise CommandError(
        f"{path} is a folder with {what}; name a file, or a folder with {', '.join(_FILES)}, "
        "or one *.onnx"
    )


def load_model(given: str, *, threads: int | None = None) -> Model:
    """Loads the model that `given` means; the errors are the library's."""
    return load(model_file(given), threads=threads)


def shape_of(spec: TensorSpec) -> str:
    """A tensor's type for people: float32[?, 4]."""
    return spec.type_name or "any"
