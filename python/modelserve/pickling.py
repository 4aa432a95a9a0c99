"""A manager pickles as its recipe: what made it, and the files that it serves; never weights.

In another process the recipe gives the manager that this process made of it, or makes it. Files are
looked up where they were: each process needs them under the same path, with the same content.
"""

from __future__ import annotations

import hashlib
import os
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ._native import Info, Model, ModelManager
from .errors import IoError, ModelServeError, NotFoundError
from .process import DigestMismatchError, Options, frozen, process_model


class Made:
    """What a manager notes of how it came to be; the compiled module writes it."""

    def __init__(
        self, config: str | os.PathLike[str] | None, options: Mapping[str, Any] | None
    ) -> None:
        #: The configuration file and the SHA-256 of its content.
        self.config = None if config is None else (os.path.abspath(config), _sha256(config))
        #: The keyword arguments of `ModelManager`.
        self.options: Options = frozen(options or {})
        #: The arguments of `serve_repository`.
        self.repository: tuple[str, Options] | None = None
        #: What `configure` was told, as the text of a configuration file, by model.
        self.policies: dict[str, str] = {}

    def configured(self, name: str, policies: str) -> None:
        """Notes the policies of a model."""
        self.policies[name] = policies

    def unloaded(self, name: str) -> None:
        """Notes that a model went, and its policies with it."""
        self.policies.pop(name, None)

    def served(self, root: str | os.PathLike[str], rules: Mapping[str, Any]) -> None:
        """Notes the repository."""
        self.repository = (os.path.abspath(root), frozen(rules))


@dataclass(frozen=True)
class VersionRecipe:
    """How to load one version of a model."""

    #: The model's name.
    name: str
    #: The version's number.
    version: int
    #: The file.
    path: str
    #: The SHA-256 that the file must have.
    digest: str
    #: The keyword arguments of `load`.
    options: Options
    #: Whether requests that name no version go to it.
    serving: bool


@dataclass(frozen=True)
class Recipe:
    """How to make a manager. Equal recipes are one manager in each process.

    Not part of it: what requests left behind (counts, caches, recent requests), recordings,
    listeners, what a canary's promotion has decided, and versions that are not available.
    """

    #: A configuration file and the SHA-256 it must have; None for a manager made in code.
    config: tuple[str, str] | None
    #: The keyword arguments of `ModelManager`, where there is no configuration file.
    options: Options
    #: The root and the rules of a repository that was served in code.
    repository: tuple[str, Options] | None
    #: The digests of the files that the configuration file names for models, as (model, SHA-256).
    contents: tuple[tuple[str, str], ...]
    #: The versions that neither the configuration file nor the repository brings, by name and
    #: number.
    versions: tuple[VersionRecipe, ...]
    #: Labels as (model, label, version).
    labels: tuple[tuple[str, str, int], ...]
    #: Policies that were set in code, as (model, text of a configuration file).
    policies: tuple[tuple[str, str], ...]


def recipe(manager: ModelManager) -> Recipe:
    """The recipe of a manager as it is now.

    Raises `TypeError` where a model was loaded from bytes: there is no file to name.
    """
    made: Made = manager._made
    brought = _Brought(made)
    versions, labels, contents = [], [], []
    for name in manager.models():
        for status in manager.versions(name):
            if status.state != "AVAILABLE":
                continue
            info = manager.info(name, status.version)
            path = _path(info, f"model '{name}' version {status.version}")
            if brought.paths.get(name) == path:
                if status.serving:
                    contents.append((name, info.digest))
            elif not brought.holds(name, path):
                options = frozen(info.options)
                versions.append(
                    VersionRecipe(name, info.version, path, info.digest, options, status.serving)
                )
        labels += [(name, label, number) for label, number in manager.labels(name).items()]
    return Recipe(
        config=made.config,
        options=made.options,
        repository=made.repository,
        contents=tuple(sorted(contents)),
        # A version's number has to be above those before it.
        versions=tuple(sorted(versions, key=lambda v: (v.name, v.version))),
        labels=tuple(sorted(labels)),
        policies=tuple(sorted((n, t) for n, t in made.policies.items() if n in manager.models())),
    )


def _path(info: Info, what: str) -> str:
    if info.path is None:
        raise TypeError(
            f"{what} cannot be pickled: it was not loaded from a file. Load it from a path that "
            "every process can read"
        )
    return os.path.abspath(info.path)


class _Brought:
    """The files that the configuration file and the repository bring by themselves."""

    def __init__(self, made: Made) -> None:
        self.paths: dict[str, str] = {}
        self.roots = [] if made.repository is None else [made.repository[0]]
        if made.config is not None:
            folder = os.path.dirname(made.config[0])
            config = tomllib.loads(Path(made.config[0]).read_text())
            for name, model in config.get("models", {}).items():
                if "path" in model:
                    self.paths[name] = os.path.abspath(os.path.join(folder, model["path"]))
            if root := config.get("manager", {}).get("model_repository"):
                self.roots.append(os.path.abspath(os.path.join(folder, root)))

    def holds(self, name: str, path: str) -> bool:
        """Whether a file is a version of the repository."""
        return any(path.startswith(os.path.join(root, name, "")) for root in self.roots)


#: Managers that are kept, by the recipes that were asked for last.
_KEPT = 8


class _Managers:
    """The managers of this process by recipe, the one that was asked for last at the end.

    One is made at a time, so that two recipes of the same manager make one. A forked child begins
    with none: the threads of its parent's managers do not exist there.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._managers: dict[Recipe, ModelManager] = {}

    def get(self, asked: Recipe) -> ModelManager:
        if (known := self._known(asked)) is not None:
            return known
        with self._making:
            found = self._known(asked)
            if found is None:
                found = self._alike(asked)
            if found is None:
                found = _make(asked)
            dropped = []
            with self._lock:
                self._managers[asked] = found
                while len(self._managers) > _KEPT:
                    dropped.append(self._managers.pop(next(iter(self._managers))))
        # A manager that nobody else holds stops here, where no lock is held.
        del dropped
        return found

    def _known(self, asked: Recipe) -> ModelManager | None:
        with self._lock:
            found = self._managers.pop(asked, None)
            if found is not None:
                self._managers[asked] = found
            return found

    def _alike(self, asked: Recipe) -> ModelManager | None:
        """A manager that is now what a recipe says, whatever it was made of."""
        with self._lock:
            managers = list(self._managers.values())
        return next((manager for manager in managers if _is(manager, asked)), None)


def _is(manager: ModelManager, asked: Recipe) -> bool:
    try:
        now = recipe(manager)
    except (ModelServeError, OSError, TypeError, ValueError):
        # It has no recipe at present: a model of bytes, or a configuration file that is gone.
        return False
    # A configuration file alone, or one whose models are loaded later, names fewer contents.
    alike = replace(now, contents=()) == replace(asked, contents=())
    return alike and set(asked.contents) <= set(now.contents)


_MANAGERS = _Managers()


def process_manager(source: Recipe | str | os.PathLike[str]) -> ModelManager:
    """The manager of a recipe, or of a configuration file, made once in this process.

    Threads that ask meanwhile wait; a forked child makes its own. A recipe that says what another
    recipe's manager is now gives that manager: so does the pickle of a manager in the process that
    has it from here. The managers of the last 8 recipes that were asked for are kept; another one
    is made anew when it is asked for again. Raises `DigestMismatchError` when
    a file on this machine is not the one of the recipe; else what loading it raises.
    """
    if not isinstance(source, Recipe):
        config = (os.path.abspath(source), _sha256(source))
        source = Recipe(config, (), None, (), (), (), ())
    return _MANAGERS.get(source)


def _make(recipe: Recipe) -> ModelManager:
    if recipe.config is None:
        manager = ModelManager(**dict(recipe.options))
    else:
        path, digest = recipe.config
        if (got := _sha256(path)) != digest:
            raise DigestMismatchError(path, digest, got)
        manager = ModelManager.from_config(path)
    for name, digest in recipe.contents:
        info = manager.info(name)
        if info.digest != digest:
            raise DigestMismatchError(str(info.path), digest, info.digest)
    if recipe.repository is not None:
        root, rules = recipe.repository
        manager.serve_repository(root, **dict(rules))
    for version in recipe.versions:
        _load(manager, version)
        for name, label, number in recipe.labels:
            # At once: a version with a label is kept when the next is loaded.
            if (name, number) == (version.name, version.version):
                manager.set_label(name, label, number)
    for name, label, number in recipe.labels:
        if manager.labels(name).get(label) != number:
            manager.set_label(name, label, number)
    for name, policies in recipe.policies:
        manager.configure(name, **tomllib.loads(policies))
    # Last: a version that labels and policies point to is kept when it stops serving.
    for version in recipe.versions:
        if version.serving and manager.info(version.name).version != version.version:
            manager.serve(version.name, version.version)
    return manager


def _load(manager: ModelManager, version: VersionRecipe) -> None:
    options = dict(version.options) | {"version": version.version}
    if version.name not in manager.models():
        info = manager.load(version.name, version.path, **options).info()
    else:
        # What is made again was accepted once already.
        info = manager.load_version(
            version.name, version.path, allow_signature_change=True, **options
        )
    if info.digest != version.digest:
        raise DigestMismatchError(version.path, version.digest, info.digest)


def _sha256(path: str | os.PathLike[str]) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except FileNotFoundError as e:
        raise NotFoundError(f"no file '{path}' on this machine") from e
    except OSError as e:
        raise IoError(f"'{path}' cannot be read: {e.strerror}") from e


def reduce_manager(manager: ModelManager) -> tuple[Callable[..., ModelManager], tuple[Recipe]]:
    """What `ModelManager.__reduce__` answers."""
    return process_manager, (recipe(manager),)


def reduce_model(model: Model) -> tuple[Callable[..., Model], tuple[str, str, Options]]:
    """What `Model.__reduce__` answers: the file of the version that answers now.

    The name, and the policies that a manager has for it, stay with the manager.
    """
    info = model.info()
    return _model, (_path(info, "the model"), info.digest, frozen(info.options))


def _model(path: str, digest: str, options: Options) -> Model:
    return process_model(path, digest, **dict(options))
