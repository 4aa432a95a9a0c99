"""scikit-learn's estimators and pipelines through skl2onnx, with native operators inside."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from .calibration import convert_isotonic, is_isotonic
from .container import OPSET
from .emit import call, cast, emit, emit_margins
from .exact import has_native, native, parts
from .native import DOMAIN, Native
from .refusals import options as right
from .samples import final, is_frame, is_numeric, is_text, width
from .sklgraph import Flags, SklGraph
from .texts import convert_weighting, is_weighting, weighting_shape
from .trees import forest_outputs


def sklearn(estimator: Any, sample: Any, *, double: bool, zeros_missing: bool) -> Any:
    """The estimator as an ONNX graph, whose numbers are doubles or float32.

    ``zeros_missing``: XGBoost inside gets sparse rows, whose zeros it takes for missing values.
    """
    from skl2onnx import convert_sklearn

    last = final(estimator)
    converters = _Converters(sample, last, zeros_missing, double)
    types = {type(part) for part in parts(estimator) if has_native(part)}
    _register(types)
    types |= {type(part) for part in parts(estimator) if is_isotonic(part) or is_weighting(part)}
    # Which options exist depends on the estimator: a NameError says that one does not.
    choices: list[dict[str, bool] | None] = [None]
    if hasattr(last, "classes_"):
        choices = [{"zipmap": False}, {"raw_scores": False}, {"nocl": False}, None]
    refused: NameError | None = None
    token = _CURRENT.set(converters)
    try:
        for choice in choices:
            options: dict[int, dict[str, Any]] = right(estimator)
            if choice is not None:
                options[id(last)] = options.get(id(last), {}) | choice
            try:
                return convert_sklearn(
                    estimator,
                    initial_types=_inputs(sample, double),
                    options=options or None,
                    target_opset=OPSET | {DOMAIN: 1},
                    custom_conversion_functions=dict.fromkeys(types, converters.convert),
                    custom_shape_calculators=dict.fromkeys(types, converters.shape),
                )
            except NameError as error:
                refused = error
    finally:
        _CURRENT.reset(token)
    raise refused or AssertionError("no conversion was tried")


#: The converters of the conversion that this thread is at.
_CURRENT: ContextVar[_Converters] = ContextVar("converters")


def _register(types: set[type]) -> None:
    """Tells skl2onnx of estimators that it does not know.

    Its list is one for all: what is done for an estimator is looked up anew in each conversion, so
    that those in other threads do not see each other.
    """
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_operator_name_map

    def shape(operator: Any) -> None:
        _current().shape(operator)

    def convert(scope: Any, operator: Any, container: Any) -> None:
        _current().convert(scope, operator, container)

    options = {"nocl": [True, False], "raw_scores": [True, False]}
    for one in types - sklearn_operator_name_map.keys():
        alias = f"ModelServe{one.__module__.partition('.')[0].capitalize()}{one.__name__}"
        update_registered_converter(one, alias, shape, convert, options=options, parser=_parse)


def _current() -> _Converters:
    current = _CURRENT.get(None)
    if current is None:
        raise NotImplementedError("only modelserve.convert converts this estimator")
    return current


def _parse(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> list[Any]:
    """Says which outputs a booster has (skl2onnx's parser)."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common.data_types import Int64TensorType, guess_tensor_type

    operator = scope.declare_local_operator(sklearn_operator_name_map[type(model)], model)
    operator.inputs = inputs
    real = guess_tensor_type(inputs[0].type)
    if hasattr(model, "classes_"):
        operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
        operator.outputs.append(scope.declare_local_variable("probabilities", real))
    else:
        operator.outputs.append(scope.declare_local_variable("variable", real))
    return list(operator.outputs)


def _inputs(sample: Any, double: bool) -> list[tuple[str, Any]]:
    """One wide input, or one input a column for a data frame of mixed types."""
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )

    real = DoubleTensorType if double else FloatTensorType
    if not is_frame(sample) or is_numeric(sample):
        shape = np.shape(sample)
        if len(shape) == 1:
            return [("X", StringTensorType([None]))]
        if not is_frame(sample) and not hasattr(sample, "toarray") and is_text(sample):
            return [("X", StringTensorType([None, shape[1]]))]
        return [("X", real([None, width(sample)]))]
    types = {"i": Int64TensorType, "u": Int64TensorType, "b": Int64TensorType, "f": real}
    inputs = []
    for name in sample.columns:
        kind = sample[name].to_numpy().dtype.kind
        inputs.append((str(name), types.get(kind, StringTensorType)([None, 1])))
    return inputs


def _rows(graph: SklGraph, operator: Any, dtype: np.dtype[Any]) -> str:
    """The rows that an operator of skl2onnx gets, side by side."""
    columns = [cast(graph, i.full_name, dtype) for i in operator.inputs]
    return columns[0] if len(columns) == 1 else call(graph, "Concat", *columns, axis=1)


def _several(graph: SklGraph, operator: Any) -> None:
    """A forest of several outputs: labels ``[N, outputs]``, shares ``[outputs, N, classes]``."""
    labels, shares = [], []
    members = forest_outputs(operator.raw_operator)
    rows = _rows(graph, operator, members[0].dtype)
    first, second = (graph.constant(np.array([axis], np.int64)) for axis in (0, 1))
    wide = np.dtype(np.float32 if "Float" in type(operator.outputs[1].type).__name__ else float)
    for member in members:
        label, share = graph.name("label"), graph.name("shares")
        emit(graph, member, rows, [label, share], wide)
        labels.append(call(graph, "Unsqueeze", label, second))
        shares.append(call(graph, "Unsqueeze", share, first))
    graph.node("Concat", labels, [operator.outputs[0].full_name], axis=1)
    graph.node("Concat", shares, [operator.outputs[1].full_name], axis=0)


class _Converters:
    """Native operators inside of a graph that skl2onnx writes."""

    def __init__(self, sample: Any, last: Any, zeros_missing: bool, double: bool) -> None:
        self._double = double
        self._sample = sample
        self._last = last
        self._zeros_missing = zeros_missing
        self._made: dict[int, Native | None] = {}

    def _native(self, operator: Any) -> Native | None:
        model = operator.raw_operator
        if id(model) not in self._made:
            made = native(model, self._sample)
            if made is not None and made.categories:
                raise UnsupportedError(
                    f"{type(model).__name__} takes categories with labels inside of another "
                    "estimator: convert it alone, or encode them in a step before it"
                )
            if made is not None and made.attributes.get("format") == "xgboost":
                zeros = (0.0,) if self._zeros_missing else ()
                made = replace(made, missing=(*made.missing, *zeros))
            self._made[id(model)] = made
        return self._made[id(model)]

    def _wide(self, operator: Any, made: Native) -> np.dtype[Any]:
        """The type of the answers: the operator's own at the end, else that of the graph."""
        from skl2onnx.common.data_types import DoubleTensorType

        if operator.raw_operator is self._last:
            return made.dtype
        double = any(isinstance(i.type, DoubleTensorType) for i in operator.inputs)
        return np.dtype(np.float64 if double else np.float32)

    def shape(self, operator: Any) -> None:
        """Says what the outputs are (skl2onnx's shape calculator)."""
        from skl2onnx.common._registration import get_shape_calculator
        from skl2onnx.common.data_types import (
            DoubleTensorType,
            FloatTensorType,
            Int64TensorType,
            StringTensorType,
        )

        if is_weighting(operator.raw_operator):
            weighting_shape(operator, self._double)
            return
        made = self._native(operator)
        if made is None:
            get_shape_calculator(operator.type)(operator)
            return
        rows = operator.inputs[0].get_first_dimension()
        real = DoubleTensorType if self._wide(operator, made).itemsize == 8 else FloatTensorType
        columns = 1 if made.outcome == "outlier" else made.targets
        if made.labels is not None:
            label = StringTensorType if made.labels.dtype.kind == "O" else Int64TensorType
            operator.outputs[0].type = label([rows])
        operator.outputs[-1].type = real([rows, columns])

    def convert(self, scope: Any, operator: Any, container: Any) -> None:
        """Writes the nodes (skl2onnx's converter)."""
        from skl2onnx.common._registration import get_converter

        if is_weighting(operator.raw_operator):
            convert_weighting(scope, operator, container, self._double)
            return
        if is_isotonic(operator.raw_operator):
            convert_isotonic(scope, operator, container)
            return
        made = self._native(operator)
        graph = SklGraph(scope, container)
        if made is None:
            if getattr(operator.raw_operator, "n_outputs_", 1) > 1:
                _several(graph, operator)
            else:
                get_converter(operator.type)(scope, operator, Flags(container))
            return
        rows = _rows(graph, operator, made.dtype)
        outputs = [o.full_name for o in operator.outputs]
        wide = self._wide(operator, made)
        asked = container.get_options(operator.raw_operator, {"raw_scores": False}, fail=False)
        if asked and asked["raw_scores"] and hasattr(operator.raw_operator, "decision_function"):
            emit_margins(graph, made, rows, outputs, wide)
        else:
            emit(graph, made, rows, outputs, wide)
