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
        "one text": np.broadcast_to(np.array(LONG, object), (1000,)),
        "NumPy's texts": np.broadcast_to(np.array(LONG), (1000,)),
        "bytes": np.broadcast_to(np.array(LONG.encode()), (1000,)),
        "columns": {name: np.broadcast_to(zero, (1 << 40,)) for name in ("sl", "sw", "pl", "pw")},
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


def test_texts_are_told_by_what_they_are(model: ms.Model) -> None:
    for texts in (np.array([["a", "é"]]), np.array([["a", "é"]], object), [["a", "é"]]):
        with pytest.raises(ms.InvalidInputError, match=r"got str\[1, 2\]"):
            model.predict_batch(texts)


def text_model(width: int) -> ms.Model:
    """Answers the texts that it is given."""
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    kind, shape = onnx.TensorProto.STRING, [None, width]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "texts",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", kind, shape)],
    )
    opset = onnx.helper.make_opsetid("", 17)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return ms.load(made.SerializeToString())


def test_texts_arrive_whole_in_every_form() -> None:
    model = text_model(2)
    texts = [["a", "é\0ü"], ["", "long"]]
    forms: list[Any] = [
        np.array(texts),
        np.array(texts)[::-1][::-1],
        np.array(texts, object),
        np.asfortranarray(np.array(texts, object)),
        np.array([[t.encode() for t in row] for row in texts], object),
        texts,
    ]
    if hasattr(np.dtypes, "StringDType"):
        forms.append(np.array(texts, np.dtypes.StringDType()))
    for form in forms:
        assert model.run({"x": form})["y"].tolist() == texts, form
        if isinstance(form, np.ndarray):
            with pytest.raises(ms.LimitExceededError):
                model.run({"x": np.broadcast_to(form[:1, :1], (1 << 30, 2))})


def test_one_long_text_gives_no_other_the_room_of_its_length() -> None:
    model = text_model(1)
    # As an array of NumPy's texts it would have 40 GB.
    texts = [[LONG]] + [[""]] * 10_000
    assert model.predict_batch(texts).predictions.tolist() == [text for [text] in texts]
