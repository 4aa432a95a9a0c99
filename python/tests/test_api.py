"""Managers, models, answers."""

from __future__ import annotations

import copy
import pickle
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from conftest import Case, case

import modelserve as ms


def test_one_row(manager: ms.ModelManager, iris: Case) -> None:
    model = manager.load("iris", iris.path)
    p = manager.predict("iris", iris.expected["rows"][0])
    assert p.prediction == iris.expected["labels"][0]
    assert type(p.prediction) is int
    assert p.probability == max(p.probabilities)
    assert p.scores == p.probabilities
    assert p.classes == [0, 1, 2]
    assert p.model_version == 1
    assert 0 < p.latency_ms < 1000
    assert "prediction=" in repr(p) and "model_version=1" in repr(p)
    assert model.predict(iris.expected["rows"][0]).scores == p.scores


def test_a_batch_is_arrays_and_a_sequence(manager: ms.ModelManager, iris: Case) -> None:
    manager.load("iris", str(iris.path))
    b = manager.predict_batch("iris", iris.rows)
    assert b.predictions.shape == (45,) and b.predictions.dtype == np.int64
    assert b.probabilities.shape == (45, 3) and b.probabilities is b.scores
    assert len(b) == len(list(b)) == 45
    assert b[-1].prediction == b[44].prediction == b.predictions[-1]
    assert b.model_version == 1 and b.latency_ms > 0
    for wrong in (45, -46, 2**40):
        with pytest.raises(IndexError):
            b[wrong]
    assert "45 rows" in repr(b)


def test_string_labels() -> None:
    c = case("logistic_strings")
    model = ms.load(c.path)
    assert model.predict(c.rows[0]).prediction == c.expected["labels"][0]
    b = model.predict_batch(c.rows)
    assert b.predictions.dtype == object and isinstance(b.predictions[0], str)
    assert b.classes == c.expected["classes"]


def test_run_gives_named_outputs(manager: ms.ModelManager, iris: Case) -> None:
    model = manager.load("iris", iris.path)
    names = [o.name for o in model.signature.outputs]
    answer = manager.run("iris", {"X": iris.rows})
    assert list(answer) == names
    only = manager.run("iris", {"X": iris.rows}, outputs=[names[1]])
    assert list(only) == [names[1]]
    np.testing.assert_array_equal(only[names[1]], answer[names[1]])
    listed = model.run({"X": iris.rows.tolist()})
    np.testing.assert_array_equal(listed[names[1]], answer[names[1]])
    with pytest.raises(ms.ModelServeError):
        model.run({"X": iris.rows}, outputs=["nothing"])
    with pytest.raises(ms.ModelServeError):
        model.run({"Y": iris.rows})


def test_run_gives_sequences_of_maps_as_lists_of_dicts() -> None:
    for name in ("logistic_zipmap", "logistic_strings_zipmap"):
        c = case(name)
        *_, maps = ms.load(c.path).run({"X": c.rows}).values()
        assert isinstance(maps, list) and len(maps) == len(c.rows)
        assert list(maps[0]) == c.expected["classes"]
        assert list(maps[0].values()) == pytest.approx(c.expected["probabilities"][0], abs=1e-5)


def test_reload_swaps_and_pinned_models_stay(
    manager: ms.ModelManager, iris: Case, iris_v2: Case
) -> None:
    model = manager.load("iris", iris.path)
    pinned = model.pin()
    info = manager.reload("iris", iris_v2.path)
    assert info.version == 2 == model.version == manager.model("iris").version
    row = iris.rows[0]
    assert model.predict(row).prediction == iris_v2.expected["labels"][0]
    assert pinned.predict(row).prediction == iris.expected["labels"][0]
    assert pinned.pinned and not model.pinned
    assert manager.reload("iris").version == 3
    with pytest.raises(ms.ModelServeError):
        manager.reload("iris", b"no model at all")
    assert model.predict(row).model_version == 3
    manager.unload("iris")
    with pytest.raises(ms.NotFoundError):
        model.predict(row)
    assert "unloaded" in repr(model)


def test_a_keyword_of_none_forgets_nothing_of_how_it_was_loaded(
    manager: ms.ModelManager, iris: Case
) -> None:
    names = ["sl", "sw", "pl", "pw"]
    model = manager.load("iris", iris.path, feature_names=names)
    row = dict(zip(names, iris.rows[0].tolist(), strict=True))
    manager.reload("iris", version=None)
    assert model.signature.feature_names == names
    assert model.predict(row).prediction == iris.expected["labels"][0]
    # Any other keyword says anew how it is loaded.
    manager.reload("iris", version=7)
    assert model.version == 7 and model.signature.feature_names is None


def test_reload_refuses_another_signature_unless_allowed(
    manager: ms.ModelManager, iris: Case
) -> None:
    manager.load("iris", iris.path)
    other = case("random_forest").path
    with pytest.raises(ms.ModelServeError):
        manager.reload("iris", other)
    assert manager.reload("iris", other, allow_signature_change=True).version == 2


def test_load_from_bytes_and_options(manager: ms.ModelManager, iris: Case) -> None:
    data = iris.path.read_bytes()
    for source in (data, bytearray(data), memoryview(data)):
        model = ms.load(
            source,
            format="onnx",
            classes=["a", "b", "c"],
            feature_names=list("wxyz"),
            version=7,
            display_version="seven",
            threads=1,
        )
        assert model.signature.feature_names == list("wxyz")
        assert model.info().path is None
        assert model.info().display_version == "seven"
    assert manager.load("iris", data, version=7).predict(iris.rows[0]).model_version == 7
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        ms.load(iris.path, colour="red")  # type: ignore[call-arg]
    with pytest.raises(ms.InvalidArgumentError, match="task"):
        ms.load(iris.path, task="dance")


def test_info_signature_stats_metrics(manager: ms.ModelManager, iris: Case) -> None:
    model = manager.load("iris", iris.path)
    info = manager.info("iris")
    assert (info.name, info.version, info.format) == ("iris", 1, "onnx")
    assert info.path is not None and Path(info.path).name == "model.onnx"
    assert len(info.digest) == 64 and info.weight_bytes > 0 and info.load_ms > 0
    assert abs((datetime.now(UTC) - info.loaded_at).total_seconds()) < 60
    assert isinstance(info.metadata, dict)
    signature = model.signature
    assert signature == info.signature
    assert signature.task == "classifier" and signature.has_probabilities
    assert signature.inputs[0].name == "X" and signature.inputs[0].dtype == "float32"
    assert signature.inputs[0].shape[-1] == 4
    assert "float32" in repr(signature) and "classifier" in repr(signature)
    assert "float32" in repr(signature.inputs[0])
    for _ in range(3):
        model.predict(iris.rows[0])
    model.predict_batch(iris.rows)
    with pytest.raises(ms.InvalidInputError):
        model.predict([1.0])
    (version,) = manager.stats("iris").versions
    assert version.rows >= 48 and version.requests >= 4 and version.errors >= 1
    assert version.serving and version.last_error and version.p50_ms <= version.p99_ms
    assert "iris" in manager.metrics_text()
    assert manager.models() == ["iris"] and "iris" in repr(manager) and "'iris'" in repr(model)
    before = manager.uptime
    time.sleep(0.01)
    assert manager.uptime > before


def test_a_model_without_manager(iris: Case) -> None:
    model = ms.load(iris.path)
    assert model.name is None and model.pinned
    assert model.pin().predict(iris.rows[0]).prediction == iris.expected["labels"][0]
    with pytest.raises(ms.UnsupportedError):
        model.stats()


def test_results_own_their_memory(iris: Case) -> None:
    manager = ms.ModelManager()
    manager.load("iris", iris.path)
    rows = iris.rows.copy()
    proba = manager.predict_proba("iris", rows)
    kept = proba.copy()
    rows[:] = 0
    manager.unload("iris")
    del manager
    np.testing.assert_array_equal(proba, kept)
    proba[:] = 0  # writable


def test_managers_and_models_of_bytes_do_not_pickle(manager: ms.ModelManager, iris: Case) -> None:
    model = manager.load("iris", iris.path.read_bytes())
    for thing in (manager, model):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled"):
            copy.deepcopy(thing)
