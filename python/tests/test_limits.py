"""What is given is bounded before it is copied: an array may be far larger than its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Case, case

import modelserve as ms

#: A text referred to so often that the copies would pass the limit of a request (256 MiB).
LONG = "x" * (1 << 20)


@pytest.fixture(scope="module")
def model() -> ms.Model:
    return ms.load(case("iris_v1").path, feature_names=["sl", "sw", "pl", "pw"])


def huge() -> dict[str, Any]:
    zero = np.float32(0)
    million = 10**6
    unaligned = np.zeros(5, np.uint8)[1:].view(np.float32)
    return {
        "float32": np.broadcast_to(zero, (million, million)),
        "float64": np.broadcast_to(np.float64(0), (million, million)),
        "big endian": np.broadcast_to(np.zeros(1, ">f4"), (million, million)),
        "unaligned": np.broadcast_to(unaligned, (million, million)),
        "long double": np.broadcast_to(np.longdouble(0), (million, million)),
        "objects": np.broadcast_to(np.array(0, object), (million, million)),
        "one text": np.full(1000, LONG, object),
        "NumPy's texts": np.broadcast_to(np.array(LONG), (1000,)),
        "bytes": np.broadcast_to(np.array(LONG.encode()), (1000,)),
        "columns": {name: np.broadcast_to(zero, (1 << 25,)) for name in ("sl", "sw", "pl", "pw")},
    }


@pytest.mark.parametrize("form", huge())
def test_what_would_pass_the_limit_is_refused_before_it_is_copied(
    model: ms.Model, form: str
) -> None:
    with pytest.raises(ms.LimitExceededError, match="request_bytes"):
        model.predict_batch(huge()[form])
    if form == "columns":
        return
    for ask in (lambda x: model.run({"X": x}), model.predict):
        with pytest.raises(ms.LimitExceededError):
            ask(huge()[form])


def test_a_managed_model_has_the_limit_it_was_loaded_with(iris: Case, tmp_path: Any) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(f'[models.m]\npath = "{iris.path}"\nmax_request_bytes = 100\n')
    manager = ms.ModelManager.from_config(config)
    rows = np.zeros((3, 4), np.float64)
    assert len(manager.predict_batch("m", rows).predictions) == 3
    with pytest.raises(ms.LimitExceededError, match="at most 100, "):
        manager.predict_batch("m", np.broadcast_to(np.float64(0), (4, 4)))


@pytest.mark.parametrize("rank", [33, 34, 64])
def test_more_dimensions_than_a_tensor_has_are_refused(model: ms.Model, rank: int) -> None:
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy 1 has 32 dimensions")
    array = np.ones((1,) * (rank - 2) + (2, 2), np.float32).T
    for ask in (model.predict, model.predict_batch):
        for given in (array, {"X": array}):
            with pytest.raises(ms.LimitExceededError, match="at most 32"):
                ask(given)
    with pytest.raises(ms.LimitExceededError, match="at most 32"):
        model.run({"X": array})


def test_texts_arrive_whole() -> None:
    identity = ms.load(case("iris_v1").path)
    # A model of numbers refuses them, by what they are.
    for texts in (np.array([["a", "é"]]), np.array([["a", "é"]], object), [["a", "é"]]):
        with pytest.raises(ms.InvalidInputError, match="string"):
            identity.predict_batch(texts)
