"""One model for the whole process: loaded once, again after a fork, again for another digest."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

import modelserve as ms
from modelserve.pickling import process_manager
from modelserve.process import DigestMismatchError, process_model

HANG = 60


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def copied(iris: Case, tmp_path: Path) -> Path:
    return Path(shutil.copy(iris.path, tmp_path / "model.onnx"))


def at_once(ask: Callable[[], object]) -> list[object]:
    """What eight threads that ask at the same time find."""
    barrier, found = threading.Barrier(8), []

    def wait_and_ask() -> None:
        barrier.wait(HANG)
        found.append(ask())

    threads = [threading.Thread(target=wait_and_ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert len(found) == 8
    return found


def test_threads_that_ask_at_once_share_one_model(copied: Path, iris: Case) -> None:
    found = at_once(lambda: process_model(copied, version=3))
    assert len(set(map(id, found))) == 1
    model = process_model(copied, version=3)
    assert model is found[0] and model.version == 3
    assert model.predict_batch(iris.rows).predictions.tolist() == iris.expected["labels"]


def test_a_model_is_told_by_path_digest_and_options(
    copied: Path, iris_v2: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, digest = process_model(copied), sha256(copied)
    assert process_model(copied, digest) is first and process_model(copied, digest.upper()) is first
    monkeypatch.chdir(copied.parent)
    assert process_model("model.onnx") is first
    assert process_model(copied, feature_names=list("abcd")) is not first
    assert process_model(copied, feature_names=iter("abcd")) is process_model(
        str(copied), feature_names=("a", "b", "c", "d"), task=None
    )
    # Another content under the same path.
    shutil.copy(iris_v2.path, copied)
    second = process_model(copied, sha256(copied))
    assert second is not first and second.info().digest == sha256(iris_v2.path)
    assert process_model(copied) is second
    # Tasks that were sent before still find what they were sent for.
    assert process_model(copied, digest) is first


def test_a_file_of_another_digest_is_refused(copied: Path) -> None:
    with pytest.raises(DigestMismatchError, match="asked for") as caught:
        process_model(copied, "0" * 64)
    error = pickle.loads(pickle.dumps(caught.value))
    for e in (caught.value, error):
        assert isinstance(e, ms.InvalidModelError) and e.kind == "InvalidModel"
        assert (e.path, e.expected, e.got) == (str(copied), "0" * 64, sha256(copied))
        assert str(copied) in str(e) and "0" * 64 in str(e) and sha256(copied) in str(e)


def test_what_failed_is_tried_again(copied: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.onnx"
    for _ in range(2):
        with pytest.raises(ms.NotFoundError):
            process_model(later)
    shutil.copy(copied, later)
    assert process_model(later).info().digest == sha256(copied)
    with pytest.raises(TypeError, match="path"):
        process_model(copied.read_bytes())  # type: ignore[arg-type]


def _in_a_child(path: Path, inherited: int, rows: np.ndarray, answers: object) -> None:
    model = process_model(path)
    same = id(model) == inherited
    answers.put((os.getpid(), same, model.predict_batch(rows).predictions.tolist()))


def test_a_forked_child_loads_for_itself(copied: Path, iris: Case) -> None:
    model = process_model(copied)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(
        target=_in_a_child, args=(copied, id(model), iris.rows, answers), daemon=True
    )
    child.start()
    pid, same, labels = answers.get(timeout=HANG)
    child.join(HANG)
    assert child.exitcode == 0
    assert pid == child.pid and not same and labels == iris.expected["labels"]
    assert process_model(copied) is model


def test_one_manager_for_each_configuration_file(copied: Path, tmp_path: Path) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text('[models.iris]\npath = "model.onnx"\n')
    manager = process_manager(str(config))
    assert manager.models() == ["iris"] and process_manager(config) is manager
    config.write_text(config.read_text() + "# for threads\n")
    assert len(set(map(id, at_once(lambda: process_manager(config))))) == 1
    config.write_text('[models.flower]\npath = "model.onnx"\n')
    assert process_manager(config).models() == ["flower"]
    with pytest.raises(ms.NotFoundError, match=r"none\.toml"):
        process_manager(tmp_path / "none.toml")


def test_a_pickle_of_the_processs_manager_is_that_manager(
    copied: Path, iris_v2: Case, tmp_path: Path
) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text('[models.iris]\npath = "model.onnx"\n')
    manager = process_manager(config)
    sent = pickle.dumps(manager)
    assert pickle.loads(sent) is manager
    assert all(found is manager for found in at_once(lambda: pickle.loads(sent)))
    # What it is now, not what it was made of.
    manager.configure("iris", cache=True)
    assert pickle.loads(pickle.dumps(manager)) is manager
    # Other contents are another manager; what was asked for by path only stays.
    shutil.copy(iris_v2.path, copied)
    other = ms.ModelManager.from_config(config)
    assert pickle.loads(pickle.dumps(other)) is not manager
    assert process_manager(config) is manager
    # A recipe that came first is found by the path.
    config.write_text(config.read_text() + "# first\n")
    first = pickle.loads(pickle.dumps(ms.ModelManager.from_config(config)))
    assert process_manager(config) is first


def test_the_last_managers_are_kept_and_no_more(copied: Path, tmp_path: Path) -> None:
    def ask(number: int) -> ms.ModelManager:
        config = tmp_path / f"{number}.toml"
        config.write_text(f'[models.m{number}]\npath = "model.onnx"\n')
        return process_manager(config)

    managers = [ask(number) for number in range(8)]
    assert ask(0) is managers[0]
    eighth = ask(8)
    # The first was asked for since: the second goes.
    assert ask(0) is managers[0] and ask(8) is eighth and ask(2) is managers[2]
    assert ask(1) is not managers[1] and ask(3) is not managers[3]
    # Whoever holds one goes on with it.
    assert managers[1].predict("m1", [1, 2, 3, 4]).model_version == 1


def _predicts(model: ms.Model, rows: np.ndarray) -> tuple[int, list[int]]:
    return os.getpid(), model.predict_batch(rows).predictions.tolist()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_model_answers_in_processes_of_every_kind(copied: Path, iris: Case, method: str) -> None:
    model = ms.load(copied)
    assert _predicts(model, iris.rows)[1] == iris.expected["labels"]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pid, labels = pool.submit(_predicts, model, iris.rows).result(HANG)
    assert pid != os.getpid() and labels == iris.expected["labels"]
