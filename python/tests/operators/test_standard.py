"""Every operator of the standard is implemented and has a case; any other is refused by name."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, defs, helper

import modelserve as ms

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


def standard_operators() -> list[str]:
    """`domain:operator` of every operator of `ai.onnx` (an empty domain) and `ai.onnx.ml`."""
    schemas = [s for s in defs.get_all_schemas() if not s.deprecated]
    return sorted(f"{s.domain}:{s.name}" for s in schemas if s.domain in ("", "ai.onnx.ml"))


def refusal(name: str) -> str:
    """Why a model with such a node is not loaded, or nothing."""
    domain, op = name.split(":")
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name="y")])
    imports = [("", defs.onnx_opset_version()), ("ai.onnx.ml", 5), ("com.microsoft", 1)]
    opsets = [helper.make_opsetid(*pair) for pair in imports]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        ms.load(model.SerializeToString())
    except ms.ModelServeError as error:
        return str(error)
    return ""


def test_every_operator_of_the_standard_is_implemented() -> None:
    names = standard_operators()
    assert len(names) > 200
    # Without the graphs that they run these are none; test_control.py has them with their graphs.
    names = [n for n in names if n not in (":If", ":Loop", ":Scan", ":SequenceMap")]
    assert [n for n in names if "not implemented" in refusal(n)] == []


@pytest.mark.parametrize("name", [":NoSuch", "ai.onnx.ml:NoSuch", "com.microsoft:NoSuch"])
def test_any_other_is_refused_by_name(name: str) -> None:
    why = refusal(name)
    assert "not implemented" in why
    assert "NoSuch" in why


def test_every_operator_of_the_standard_has_a_case() -> None:
    text = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
    without = [n for n in standard_operators() if f'"{n.split(":")[1]}"' not in text]
    assert [n for n in without if n not in ELSEWHERE] == []
