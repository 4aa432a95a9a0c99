"""Loading the model that a command names."""

from __future__ import annotations

from pathlib import Path

from .._native import Model, TensorSpec, load


def model_file(given: str) -> Path:
    """The model file that `given` means: itself, or the one in the folder it is."""
    path = Path(given)
    if not path.is_dir():
        return path
    # Which file that is, is the library's rule.
    return Path(load(path).info().path or path)


def load_model(given: str, *, threads: int | None = None) -> Model:
    """Loads the model that `given` means; the errors are the library's."""
    return load(given, threads=threads)


def shape_of(spec: TensorSpec) -> str:
    """A tensor's type for people: float32[?, 4]."""
    return spec.type_name or "any"
