"""Managers and models pickle as recipes: what another process makes of them answers the same."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

import modelserve as ms
from modelserve.pickling import recipe
from modelserve.process import DigestMismatchError

ASK = """
import pickle, sys
import numpy as np
thing, question = pickle.load(sys.stdin.buffer)
pickle.dump(question(thing), sys.stdout.buffer)
"""


def elsewhere(thing: object, question: object) -> object:
    """What a new Python process answers when it is sent `thing`."""
    sent = pickle.dumps((thing, question))
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r})\n{ASK}"
    ran = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return pickle.loads(ran.stdout)


def _versions(manager: ms.ModelManager) -> object:
    rows = np.array([[5.9, 3.0, 5.1, 1.8]], np.float32)
    answers = [manager.predict_batch("iris", rows, version=v).probabilities for v in (1, 2)]
    state = [(v.version, v.serving, v.labels) for v in manager.versions("iris")]
    return np.concatenate(answers).tolist(), state


def _tables(manager: ms.ModelManager) -> object:
    same = manager.predict("iris", [1, 2, 3, 4]), manager.predict("iris", [1, 2, 3, 4])
    return [answer.receipt.cache for answer in same], manager.models()


def _probabilities(model: ms.Model) -> object:
    row = {"a": 5.9, "b": 3.0, "c": 5.1, "d": 1.8}
    return model.predict(row).probabilities, model.version, model.info().display_version


def test_a_manager_is_sent_as_its_files(iris: Case, iris_v2: Case) -> None:
    manager = ms.ModelManager(keep_versions=2)
    manager.load("iris", iris.path, feature_names=list("abcd"))
    manager.load_version("iris", iris_v2.path)
    manager.serve("iris", 2)
    manager.set_label("iris", "old", 1)
    sent = pickle.dumps(manager)
    assert len(sent) < 2_000
    assert elsewhere(manager, _versions) == _versions(manager)
    # One manager in this process, whoever unpickles it and how often.
    again = pickle.loads(sent)
    assert again is pickle.loads(sent) is pickle.loads(pickle.dumps(again))
    assert recipe(again) == recipe(manager)
    # What is not the same any more is another recipe.
    manager.remove_label("iris", "old")
    assert pickle.loads(pickle.dumps(manager)) is not again


def test_policies_are_sent(iris: Case) -> None:
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    manager.configure("iris", cache={"capacity": "1MiB"}, deadline={"default": "5s"})
    assert elsewhere(manager, _tables) == (["miss", "hit"], ["iris"])


def test_policies_of_a_model_that_went_are_not_sent(iris: Case) -> None:
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    manager.configure("iris", deadline={"default": "1us"})
    manager.unload("iris")
    manager.load("iris", iris.path)
    assert recipe(manager).policies == ()
    row, label = iris.rows[0], iris.expected["labels"][0]
    assert pickle.loads(pickle.dumps(manager)).predict("iris", row).prediction == label


def test_a_relative_path_is_meant_from_where_it_was_given(
    iris: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(iris.path.parent)
    model = ms.load(iris.path.name)
    monkeypatch.chdir(tmp_path)
    assert model.info().path == iris.path
    row, label = iris.rows[0], iris.expected["labels"][0]
    assert pickle.loads(pickle.dumps(model)).predict(row).prediction == label


def test_a_manager_of_a_configuration_file_is_sent_as_the_file(
    iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    shutil.copy(iris.path, tmp_path / "model.onnx")
    config = tmp_path / "modelserve.toml"
    config.write_text('[models.iris]\npath = "model.onnx"\n[models.iris.cache]\n')
    manager = ms.ModelManager.from_config(config)
    assert recipe(manager).versions == ()
    sent = pickle.dumps(manager)
    again = pickle.loads(sent)
    assert again is not manager and again is pickle.loads(sent)
    # What was loaded beside it goes along.
    manager.load("other", iris_v2.path)
    assert elsewhere(manager, _tables) == (["miss", "hit"], ["iris", "other"])
    # The model's file, and then the configuration file, are not what they were.
    shutil.copy(iris_v2.path, tmp_path / "model.onnx")
    later = pickle.dumps(manager)
    with pytest.raises(DigestMismatchError, match=r"model\.onnx"):
        pickle.loads(later)
    config.write_text(config.read_text() + "# changed\n")
    with pytest.raises(DigestMismatchError, match=r"modelserve\.toml"):
        pickle.loads(later)


def test_a_manager_of_a_repository_is_sent_as_the_folder(iris: Case, tmp_path: Path) -> None:
    folder = tmp_path / "iris" / "7"
    folder.mkdir(parents=True)
    shutil.copy(iris.path, folder / "model.onnx")
    manager = ms.ModelManager()
    manager.serve_repository(tmp_path, watch=False, settle=0.001)
    assert recipe(manager).versions == ()
    again = pickle.loads(pickle.dumps(manager))
    assert again.info("iris").version == 7


def test_a_model_is_sent_as_its_file_and_how_it_was_loaded(iris: Case) -> None:
    options = {"feature_names": list("abcd"), "version": 4, "display_version": "of May"}
    alone = ms.load(iris.path, **options)
    manager = ms.ModelManager()
    handle = manager.load("iris", iris.path, **options)
    wanted = _probabilities(alone)
    for model in (alone, handle, handle.pin()):
        assert len(pickle.dumps(model)) < 1_000
        assert elsewhere(model, _probabilities) == wanted
    assert pickle.loads(pickle.dumps(alone)) is pickle.loads(pickle.dumps(handle))


def test_what_was_loaded_from_bytes_is_refused(iris: Case) -> None:
    manager = ms.ModelManager()
    model = manager.load("iris", iris.path.read_bytes())
    for thing, what in ((manager, "model 'iris' version 1"), (model, "the model")):
        with pytest.raises(TypeError, match=f"{what} cannot be pickled"):
            pickle.dumps(thing)


def test_another_file_in_its_place_is_refused(iris: Case, iris_v2: Case, tmp_path: Path) -> None:
    path = Path(shutil.copy(iris.path, tmp_path / "model.onnx"))
    manager = ms.ModelManager()
    model = manager.load("iris", path)
    sent = [pickle.dumps(manager), pickle.dumps(model)]
    shutil.copy(iris_v2.path, path)
    for thing in sent:
        with pytest.raises(DigestMismatchError):
            pickle.loads(thing)
