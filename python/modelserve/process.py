"""One model, one manager for the whole process: tasks of an engine name a file and share what it
holds.

A task that is sent to another process carries a path and a digest, never weights. The first task
that comes to a process loads the file; the others find it loaded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, Unpack

from ._native import Model, load
from .errors import InvalidModelError

if TYPE_CHECKING:
    from ._native import _LoadOptions

#: Keyword arguments that can be hashed and pickled, sorted by name.
Options: TypeAlias = tuple[tuple[str, Any], ...]

#: Versions of one file that stay loaded: tasks that were sent before the file was replaced may
#: still come.
_KEPT = 2


class DigestMismatchError(InvalidModelError):
    """A file on this machine has other content than the file that was meant."""

    #: The path of the file.
    path: str
    #: The SHA-256 that was asked for, in hexadecimal.
    expected: str
    #: The SHA-256 of the file on this machine.
    got: str

    def __init__(self, path: str, expected: str, got: str) -> None:
        super().__init__(path, expected, got)
        self.path, self.expected, self.got = path, expected, got
        self.remote_message = "a file on this machine has other content than the one that was meant"

    def __str__(self) -> str:
        return (
            f"'{self.path}' on this machine has the SHA-256 {self.got}, but {self.expected} was "
            "asked for: copy the file that was meant to this machine, or ask for the one it has"
        )


K = TypeVar("K")
V = TypeVar("V")


class Once(Generic[K, V]):
    """A value for each key, made by the first who asks while the others wait.

    What fails is forgotten, and the next who asks tries again. A forked child begins with none: the
    threads that made values in its parent do not exist there.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[K, threading.Lock] = {}
        self._values: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, made by `make()` where there is none."""
        with self._lock:
            if key in self._values:
                return self._values[key]
            making = self._locks.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                self._locks.pop(key, None)
            return value


class _File:
    """The models of one file, by digest, the newest last."""

    def __init__(self, path: str, options: Options) -> None:
        self.path, self.options = path, options
        self.lock = threading.Lock()
        self.models: dict[str, Model] = {}

    def model(self, digest: str | None) -> Model:
        with self.lock:
            if digest is None and self.models:
                return next(reversed(self.models.values()))
            if digest is not None and digest in self.models:
                return self.models[digest]
            model = load(self.path, **dict(self.options))
            got = model.info().digest
            if digest is not None and got != digest:
                raise DigestMismatchError(self.path, digest, got)
            self.models.pop(got, None)
            self.models[got] = model
            while len(self.models) > _KEPT:
                del self.models[next(iter(self.models))]
            return model


_FILES: Once[tuple[str, Options], _File] = Once()


def process_model(
    path: str | os.PathLike[str], digest: str | None = None, **options: Unpack[_LoadOptions]
) -> Model:
    """The model of a file, loaded once in this process; threads that ask meanwhile wait.

    `digest` is the SHA-256 that the file must have, in hexadecimal (`model.info().digest`). When a
    file was replaced, asking for the new digest loads it again; without a digest the model loaded
    last answers, whatever became of the file. `options` are those of `load`, and belong to the
    identity of a model. A forked child loads for itself.

    Raises `DigestMismatchError` when the file has another digest than the one asked for, else what
    `load` raises.

    >>> model = process_model("iris.onnx")  # doctest: +SKIP
    >>> model is process_model("iris.onnx", model.info().digest)  # doctest: +SKIP
    True
    """
    if isinstance(path, bytes | bytearray | memoryview):
        raise TypeError("process_model takes the path of a file, not its content")
    if digest is not None:
        digest = digest.lower()
    where, key = os.path.abspath(path), frozen(options)
    return _FILES.get((where, key), lambda: _File(where, key)).model(digest)


def frozen(options: Mapping[str, Any]) -> Options:
    """Keyword arguments as a value that can be hashed; arguments of None are left out."""
    given = ((name, _hashable(value)) for name, value in options.items() if value is not None)
    return tuple(sorted(given))


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        # The description of a model's layers: `load` takes it as text, too.
        import json

        return json.dumps(value, sort_keys=True)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(value)
    return value
