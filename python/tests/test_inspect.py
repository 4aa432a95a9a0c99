"""`modelserve.inspect` and the command: files that load, and files that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import run
from conftest import DATA, Case, case

import modelserve as ms

SEEDS = DATA.parent / "fuzz" / "seeds" / "booster_load"


def model(nodes: list[Any], weights: Any = (), *, external: bool = False) -> Any:
    """A model of these nodes, from `x` `[N, 3]` to `y`, that no checker has seen."""
    onnx = pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx import TensorProto, helper, numpy_helper

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])

    initializers = [numpy_helper.from_array(value, name) for name, value in weights]
    if external:
        for tensor in initializers:
            onnx.external_data_helper.set_external_data(tensor, "weights.bin", 0, 36)
            tensor.ClearField("raw_data")
    graph = helper.make_graph(nodes, "g", [info("x")], [info("y")], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made.producer_name, made.producer_version = "maker", "1.2"
    return made


def unsupported() -> bytes:
    """Two operators that are not there, and one with an attribute of a wrong type."""
    pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx import helper

    nodes = [helper.make_node("Fancy", ["x"], ["a0"], name="f0")]
    nodes += [
        helper.make_node("Fancy", [f"a{i - 1}"], [f"a{i}"], name=f"f{i}") for i in range(1, 25)
    ]
    nodes.append(helper.make_node("Softmax", ["a24"], ["b"], name="soft", axis=0.5))
    nodes.append(helper.make_node("Plain", ["b"], ["y"], name="plain"))
    return bytes(model(nodes).SerializeToString())


def test_a_model_that_loads(iris: Case) -> None:
    found = ms.inspect(iris.path)
    assert isinstance(found, ms.Inspection) and found.loadable and not found.problems
    info = ms.load(iris.path).info()
    assert (found.format, found.digest, found.path) == ("onnx", info.digest, info.path)
    assert found.meaning is not None and found.meaning.task == "classifier"
    assert found.meaning.classes == info.signature.classes
    assert found.memory == ms.MemoryEstimate(bytes=info.weight_bytes, prepared=True)
    assert found.opsets["ai.onnx"] == 18
    used = {(one.domain, one.name): one for one in found.operators}
    assert used["ai.onnx.ml", "LinearClassifier"].count == 1
    assert found.inputs[0].dtype == "float32" and found.inputs[0].shape == [None, 4]
    assert "LinearClassifier" in str(found) and "problems       none" in str(found)
    assert repr(found).startswith("<modelserve.Inspection of '") and "loadable" in repr(found)
    assert ms.inspect(iris.path.read_bytes()).path is None
    assert found.data == json.loads(json.dumps(found.data))


def test_everything_that_is_wrong_is_told_at_once() -> None:
    made = unsupported()
    found = ms.inspect(made)
    assert found.readable and not found.loadable and found.meaning is None
    told = {problem.operator: problem for problem in found.problems}
    assert set(told) == {"ai.onnx:Fancy", "ai.onnx:Plain", "ai.onnx:Softmax"}
    fancy = told["ai.onnx:Fancy"]
    assert (fancy.kind, fancy.message, fancy.opset) == ("Unsupported", "not implemented", 17)
    assert (fancy.count, fancy.nodes) == (25, [f"f{i}" for i in range(20)])
    assert "'f19' and 5 more" in str(fancy)
    assert told["ai.onnx:Softmax"].kind == "InvalidModel"
    assert repr(found).endswith("3 problems>")
    with pytest.raises(ms.UnsupportedError) as refused:
        ms.load(made)
    for problem in found.problems:
        assert problem.operator is not None and problem.operator in str(refused.value)
        assert all(f"'{node}'" in str(refused.value) for node in problem.nodes)


def test_data_beside_the_file(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs modelserve[convert]")
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")]
    made = model(nodes, [("w", np.eye(3, dtype=np.float32))], external=True)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    found = ms.inspect(path)
    (file,) = found.external
    assert file.missing and file.bytes is None and file.needed == 36
    assert [problem.kind for problem in found.problems] == ["NotFound"]
    assert found.weights == [ms.WeightKind(dtype="float32", tensors=1, elements=9, bytes=36)]
    (tmp_path / "weights.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    found = ms.inspect(path)
    assert found.loadable and found.external[0].bytes == 36


@pytest.mark.parametrize(
    ("file", "format"),
    [("trees.txt", "lightgbm"), ("trees.ubj", "xgboost"), ("trees_catboost.json", "catboost")],
)
def test_boosters(file: str, format: str) -> None:
    found = ms.inspect(SEEDS / file)
    (booster,) = found.boosters
    assert found.format == format and found.loadable
    assert booster.learner == "trees" and booster.trees > 0 and booster.features > 0
    assert f"{booster.trees} trees" in str(found)


def test_a_safetensors_file_without_its_description(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(case("digits_mlp_safetensors").path.read_bytes())
    found = ms.inspect(path)
    assert found.readable and not found.loadable and found.tensors
    assert found.description is not None and not found.description.found
    assert ms.inspect(case("digits_mlp_safetensors").path).loadable


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ms.NotFoundError):
        ms.inspect(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="unexpected keyword"):
        ms.inspect(b"", nothing=1)  # type: ignore[call-arg]
    found = ms.inspect(b"\xff" * 100)
    assert not found.readable and found.problems[0].kind == "InvalidModel"
    assert str(found.problems[0]) in str(found)


def test_the_command_tells_what_is_wrong_and_ends_with_one(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="needs modelserve[cli]")
    path = tmp_path / "model.onnx"
    path.write_bytes(unsupported())
    ended = run("inspect", path)
    assert ended.code == 1 and not ended.err, ended.err
    for words in ("Fancy (25): not implemented", "ai.onnx:Plain", "'soft'", "cannot be loaded"):
        assert words in ended.out, words
    ended = run("inspect", path, "--json")
    assert ended.code == 1
    data = ended.data
    assert data["loadable"] is False and len(data["problems"]) == 3
    assert data["task"] is None and data["signature"]["inputs"][0]["shape"] == ["N", 3]
    assert data["inspection"]["producer"] == "maker"
