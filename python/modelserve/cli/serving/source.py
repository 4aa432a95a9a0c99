"""What is served: a repository, a configuration file, or plain model files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._native import ModelManager
from ..output import CommandError, counted
from .settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUFFIXES = (".onnx", ".safetensors")


@dataclass(frozen=True)
class Source:
    """A manager with its models loaded."""

    manager: ModelManager
    #: repository, configuration or files.
    kind: str
    #: What was passed over, or failed while others serve: for people.
    notes: list[str]

    def models(self) -> list[dict[str, object]]:
        """Each model with the versions that serve."""
        found: list[dict[str, object]] = []
        for name in self.manager.models():
            states = self.manager.versions(name)
            available = [one.version for one in states if one.state == "AVAILABLE"]
            found.append({"name": name, "versions": available})
        return found


def open_source(settings: Settings) -> Source:
    """Loads what is to be served; `CommandError` says what was found where there is no model."""
    path = Path(settings.source)
    if path.is_dir():
        return _folder(path, settings)
    if settings.source_is_configuration:
        source = Source(ModelManager.from_config(path), "configuration", [])
        if not source.manager.models():
            raise CommandError(f"{path} names no model and no model_repository with one")
        return source
    # A file that is not there is told by loading it.
    return _files([path])


def http_section(path: str) -> dict[str, Any]:
    """The section `[http]` of a configuration file that `open_source` has accepted.

    `CommandError` where Python reads the file otherwise than the library: what it may say about
    management must not pass unread.
    """
    try:
        with open(path, "rb") as file:
            section = tomllib.load(file).get("http", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: cannot tell whether [http] opens management: {error}"
        raise CommandError(message) from None
    assert isinstance(section, dict)
    return section


def _folder(path: Path, settings: Settings) -> Source:
    manager = ModelManager()
    report = manager.serve_repository(
        path, watch=settings.watch, version_policy=settings.version_policy
    )
    if manager.models():
        notes = [
            f"{name} version {version} failed: {why}"
            for name, version, why in map(_failure, report["failed"])
        ]
        notes += [f"{what} is ignored: {why}" for what, why in report["ignored"]]
        return Source(manager, "repository", notes)
    if report["failed"]:
        lines = "; ".join(
            f"{name} version {version}: {why}"
            for name, version, why in map(_failure, report["failed"])
        )
        raise CommandError(f"{path}: no version can be loaded: {lines}")
    plain = sorted(file for file in path.iterdir() if _is_plain(file))
    if plain:
        return _files(plain)
    raise CommandError(_no_model(path))


def _failure(entry: tuple[object, ...]) -> tuple[object, object, object]:
    name, version, *why = entry
    return name, version, " ".join(map(str, why))


def _is_plain(file: Path) -> bool:
    return file.suffix in _SUFFIXES and file.is_file() and _NAME.fullmatch(file.stem) is not None


def _files(files: list[Path]) -> Source:
    """Models of the names of their files, each in version 1."""
    manager = ModelManager()
    for file in files:
        # `model.onnx` is what exporters call every file; its folder has the name.
        generic = len(files) == 1 and file.stem == "model"
        name = file.absolute().parent.name if generic else file.stem
        if not _NAME.fullmatch(name):
            raise CommandError(f"{file}: '{name}' is no name of a model: use letters, digits, ._-")
        manager.load(name, file)
    note = (
        "plain files are served as version 1 and not watched; new versions go in by folders "
        "NAME/VERSION/model.onnx"
    )
    return Source(manager, "files", [note])


def _no_model(path: Path) -> str:
    """What is there, what is expected, and what to do."""
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    found = ", ".join(entry.name + ("/" if entry.is_dir() else "") for entry in entries[:6])
    more = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    expected = f"expected {path}/NAME/VERSION/model.onnx, as {path}/iris/1/model.onnx"
    flat = [e for e in entries if e.is_dir() and any(map(_is_plain, e.iterdir()))]
    if not flat:
        return f"{path} has no model: found {found + more if entries else 'nothing'}; {expected}"
    names = ", ".join(folder.name for folder in flat[:3]) + (", …" if len(flat) > 3 else "")
    one = flat[0]
    return (
        f"{path} has no model: {counted(len(flat), 'folder')} ({names}) with model files and no "
        f"folder of a version; {expected}: mkdir {one}/1 && mv {one}/*.* {one}/1/"
    )
