"""The backend tests of the package `onnx`: cases, their values, and how answers are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

#: The suites whose models are made by, or lie in, the package.
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")

Values = Sequence[Any]


@dataclass
class Case:
    """One test: a model and what it answers."""

    suite: str
    name: str
    rtol: float
    atol: float
    source: Any

    @property
    def key(self) -> str:
        """How the list of expected failures names it."""
        return f"{self.suite}/{self.name}"

    def model(self) -> bytes:
        """The model as a file has it."""
        if self.source.model is not None:
            return bytes(self.source.model.SerializeToString())
        return (Path(self.source.model_dir) / "model.onnx").read_bytes()

    def data_sets(self) -> Iterator[tuple[Values, Values]]:
        """Inputs and expected outputs, in the order of the graph's."""
        if self.source.data_sets is not None:
            for inputs, outputs in self.source.data_sets:
                yield [value_of(v) for v in inputs], [value_of(v) for v in outputs]
            return
        model = onnx.load(Path(self.source.model_dir) / "model.onnx", load_external_data=False)
        for folder in sorted(Path(self.source.model_dir).glob("test_data_set_*")):
            # Inputs that have a default have no file.
            names = {v.name for v in model.graph.initializer}
            inputs = [v for v in model.graph.input if v.name not in names]
            yield (
                [read(folder / f"input_{i}.pb", v) for i, v in enumerate(inputs)],
                [read(folder / f"output_{i}.pb", v) for i, v in enumerate(model.graph.output)],
            )


@cache
def cases() -> dict[str, Case]:
    """All cases by their keys."""
    found: dict[str, Case] = {}
    for suite in SUITES:
        for test in load_model_tests(kind=suite):
            case = Case(suite, test.name, test.rtol, test.atol, test)
            found[case.key] = case
    return found


def value_of(value: Any) -> Any:
    """A value of a case as `Model.run` takes and gives it."""
    if isinstance(value, onnx.TensorProto):
        return text_of(numpy_helper.to_array(value))
    if isinstance(value, onnx.SequenceProto):
        return [value_of(v) for v in numpy_helper.to_list(value)]
    if isinstance(value, onnx.OptionalProto):
        return value_of(numpy_helper.to_optional(value))
    if isinstance(value, (list, tuple)):
        return [value_of(v) for v in value]
    if value is None or isinstance(value, dict):
        return value
    return text_of(np.asarray(value))


def text_of(array: Any) -> Any:
    """Strings as Python has them, not as bytes."""
    if array.dtype.kind not in "OSU":
        return array
    texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
    return np.array(texts, dtype=object).reshape(array.shape)


def read(path: Path, declared: onnx.ValueInfoProto) -> Any:
    """The value of a file."""
    kind = declared.type.WhichOneof("value")
    kinds = {
        "sequence_type": onnx.SequenceProto,
        "optional_type": onnx.OptionalProto,
    }
    proto = kinds.get(kind or "", onnx.TensorProto)()
    proto.ParseFromString(path.read_bytes())
    return value_of(proto)


def differ(expected: Any, got: Any, rtol: float, atol: float, where: str) -> str | None:
    """How an answer differs from the expected one."""
    if expected is None or got is None:
        return None if expected is got else f"{where}: {got!r}, expected {expected!r}"
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return f"{where}: {type(got).__name__} of {len(got)}, expected {len(expected)} items"
        each = (
            differ(e, g, rtol, atol, f"{where}[{i}]")
            for i, (e, g) in enumerate(zip(expected, got, strict=True))
        )
        return next((found for found in each if found), None)
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape:
        return f"{where}: shape {got.shape}, expected {expected.shape}"
    if expected.dtype != got.dtype:
        return f"{where}: dtype {got.dtype}, expected {expected.dtype}"
    if expected.dtype.kind in "OiubcU":
        same = expected == got
    elif expected.dtype.name in ("int4", "uint4", "int2", "uint2"):
        same = expected.astype(np.int8) == got.astype(np.int8)
    else:
        if expected.dtype.name == "bfloat16":
            rtol = max(rtol, 2**-6)
        wide = expected.astype(np.float64), got.astype(np.float64)
        same = np.isclose(wide[1], wide[0], rtol=rtol, atol=atol, equal_nan=True)
    off = int(np.size(same) - np.count_nonzero(same))
    return f"{where}: {off} of {np.size(same)} values differ" if off else None
