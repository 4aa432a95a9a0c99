"""The list of operators that are not implemented is right, and every other one has a case."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, defs, helper

import modelserve as ms

from .missing import NOT_YET

HERE = Path(__file__).parent

#: Operators that are implemented, or refused on purpose, and have no case in this folder.
ELSEWHERE: dict[str, str] = {
    ":Constant": "a part of every random graph",
    **dict.fromkeys(
        (
            ":Bernoulli",
            ":Multinomial",
            ":RandomNormal",
            ":RandomNormalLike",
            ":RandomUniform",
            ":RandomUniformLike",
        ),
        "random numbers have no oracle: src/kernel/random has tests of their distribution",
    ),
    **dict.fromkeys(
        (
            ":BitCast",
            ":CausalConvWithState",
            ":CumProd",
            ":DeformConv",
            ":LinearAttention",
            ":MaxRoiPool",
            ":SwiGLU",
            ":TensorScatter",
        ),
        "onnxruntime has none: unit tests, and those of ONNX's backend tests",
    ),
    ":ImageDecoder": "onnxruntime has none: test_images.py holds it to Pillow",
}


def implemented(name: str) -> bool:
    """Whether a model with such a node is refused for another reason at most."""
    domain, op = name.split(":")
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name="y")])
    imports = [("", 23), ("ai.onnx.ml", 5), ("com.microsoft", 1)]
    opsets = [helper.make_opsetid(*pair) for pair in imports]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        ms.load(model.SerializeToString())
    except ms.UnsupportedError as error:
        return "not implemented" not in str(error)
    except ms.ModelServeError:
        return True
    return True


@pytest.mark.parametrize("name", sorted(NOT_YET))
def test_what_is_missing_is_refused_by_name(name: str) -> None:
    assert not implemented(name), f"{name} is implemented: take it off the list in missing.py"


def test_every_implemented_operator_has_a_case() -> None:
    text = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
    names = {f"{s.domain}:{s.name}" for s in defs.get_all_schemas() if not s.deprecated}
    names = {n for n in names if n.split(":")[0] in ("", "ai.onnx.ml")}
    without = [n for n in sorted(names) if f'"{n.split(":")[1]}"' not in text]
    surprising = [n for n in without if n not in ELSEWHERE and n not in NOT_YET and implemented(n)]
    assert not surprising, surprising
