"""One hierarchy of exceptions."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from conftest import Case

import modelserve as ms
from modelserve import errors

BUILTINS = {
    "InvalidModel": ValueError,
    "Unsupported": NotImplementedError,
    "LimitExceeded": ValueError,
    "InvalidInput": ValueError,
    "InvalidArgument": ValueError,
    "NotFound": KeyError,
    "AlreadyExists": ValueError,
    "NotReady": RuntimeError,
    "Overloaded": RuntimeError,
    "DeadlineExceeded": TimeoutError,
    "Cancelled": RuntimeError,
    "PermissionDenied": PermissionError,
    "Io": OSError,
    "Execution": RuntimeError,
    "Internal": RuntimeError,
}


def test_each_kind_has_a_class_under_the_builtin_that_fits() -> None:
    assert set(errors.BY_KIND) == set(BUILTINS)
    for kind, cls in errors.BY_KIND.items():
        assert cls.__name__ == f"{kind}Error" and getattr(ms, cls.__name__) is cls
        assert issubclass(cls, ms.ModelServeError) and issubclass(cls, BUILTINS[kind])
        error = cls("it's so")
        assert str(error) == "it's so" and error.kind == kind and error.model is None
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls and str(again) == "it's so"


def test_errors_say_kind_and_model(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", iris.path)
    with pytest.raises(ms.InvalidInputError) as wrong:
        manager.predict("iris", [1.0, 2.0])
    assert wrong.value.kind == "InvalidInput" and wrong.value.model == "iris"
    with pytest.raises(KeyError) as missing:
        manager.predict("rose", [1.0])
    assert isinstance(missing.value, ms.NotFoundError)
    assert "rose" in str(missing.value) and not str(missing.value).startswith('"')
    with pytest.raises(ms.AlreadyExistsError):
        manager.load("iris", iris.path)


def test_bad_files(tmp_path: Path, manager: ms.ModelManager) -> None:
    with pytest.raises(ms.ModelServeError) as absent:
        ms.load(tmp_path / "absent.onnx")
    assert isinstance(absent.value, ms.NotFoundError | OSError)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x08" * 100)
    with pytest.raises(ms.ModelServeError):
        manager.load("bad", bad)
    assert manager.models() == []
    with pytest.raises(TypeError):
        manager.load("bad", 3)  # type: ignore[arg-type]
