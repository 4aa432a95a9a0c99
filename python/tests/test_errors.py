"""One hierarchy of exceptions."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import Case

import modelserve as ms
from modelserve import _native, errors

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


@pytest.mark.parametrize("way", ["held", "detached", "interruptible"])
def test_a_panic_in_the_module_is_an_exception_like_any_other(
    way: str, loaded: ms.ModelManager, iris: Case
) -> None:
    """A build for tests can provoke one on each way from Python into the crate."""
    if not hasattr(_native, "_provoke_panic"):
        pytest.skip("the module was built for release")
    before = loaded.predict("iris", iris.rows[0]).prediction
    try:
        _native._provoke_panic(way)
    except Exception as error:
        assert type(error) is ms.InternalError and error.kind == "Internal"
        assert "defect" in str(error) and "provoked" in str(error)
    else:
        pytest.fail("nothing was raised")
    assert loaded.predict("iris", iris.rows[0]).prediction == before


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


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the system")
def test_no_more_files_is_an_error_and_what_serves_goes_on(
    manager: ms.ModelManager, iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    import resource

    manager.load("iris", iris.path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Below any number that is free: what is open stays open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        errors = []
        for ask in (
            lambda: manager.load("other", iris_v2.path),
            lambda: manager.reload("iris", iris_v2.path),
            lambda: ms.ModelManager().serve_repository(tmp_path),
        ):
            try:
                ask()
            except ms.ModelServeError as error:
                errors.append(error.kind)
        answer = manager.predict("iris", iris.rows[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert errors == ["Io"] * 3
    assert (answer.prediction, answer.model_version) == (iris.expected["labels"][0], 1)
    assert manager.models() == ["iris"]
    assert manager.reload("iris", iris_v2.path).version == 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_file_that_memory_does_not_hold_is_an_error(iris: Case, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    program = f"""
        import resource
        import modelserve as ms
        model = ms.load({str(iris.path)!r})
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * resource.getpagesize() + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            ms.load({str(large)!r})
        except ms.LimitExceededError as error:
            print(error)
        print(model.predict([1.0] * 4).prediction)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said, answer = run.stdout.splitlines()
    assert "no memory for the 1073741824 bytes" in said and answer.isdigit()
