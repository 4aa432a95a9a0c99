"""What `inspect` finds in a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why a model cannot be loaded, with the nodes it concerns."""

    #: The kind of error that loading ends with: Unsupported, InvalidModel, NotFound, …
    kind: str
    #: What is wrong; `not implemented` for an operator that the library has not.
    message: str
    #: The operator with its domain (`ai.onnx:Conv`), where nodes of one are concerned.
    operator: str | None
    #: The opset version that these nodes are written for.
    opset: int | None
    #: The names of the nodes, the first 20.
    nodes: list[str]
    #: How many nodes there are; 0 where no node is concerned.
    count: int

    def __str__(self) -> str:
        """For people."""
        if self.operator is None:
            return self.message
        opset = "" if self.opset is None else f"opset {self.opset}; "
        names = ", ".join(f"'{name}'" for name in self.nodes)
        more = self.count - len(self.nodes)
        names += f" and {more} more" if more > 0 else ""
        noun = "node" if self.count == 1 else "nodes"
        return f"{self.operator} ({opset}{noun} {names}): {self.message}"


@dataclass(frozen=True, kw_only=True)
class InspectedValue:
    """A named input or output, as the file declares it."""

    #: Its name.
    name: str
    #: Its whole type as text: `float32[N, 4]`, `sequence<map<int64, float32>>`.
    type_name: str
    #: The element type of a tensor; None for anything else.
    dtype: str | None
    #: Each dimension's size, name, or None; None where even the rank is unknown.
    shape: list[int | str | None] | None


@dataclass(frozen=True, kw_only=True)
class InspectedMeaning:
    """What the outputs of a model mean."""

    #: What the answer is: classifier, multilabel, regressor, outlier, cluster, transform, tensors.
    task: str
    #: The output that holds labels.
    label_output: str | None
    #: The output that holds scores, probabilities or values.
    scores_output: str | None
    #: Whether probabilities are made of the scores, which are logits.
    logits: bool
    #: Whether the scores of a classifier are probabilities.
    has_probabilities: bool
    #: The class labels, where known.
    classes: list[int] | list[str] | None
    #: Names of the features of a single wide input.
    feature_names: list[str] | None
    #: Values a row of a regressor or transform; 0 where unknown.
    targets: int


@dataclass(frozen=True, kw_only=True)
class InspectedOperator:
    """An operator that a file uses."""

    #: Its domain: `ai.onnx`, `ai.onnx.ml`, …
    domain: str
    #: Its name.
    name: str
    #: The opset version that its nodes are written for; None where none is imported.
    opset: int | None
    #: How many nodes there are, those of sub-graphs and local functions among them.
    count: int
    #: Whether it is a function that the file defines.
    local_function: bool
    #: Whether it can be computed: implemented, or a function of the file.
    supported: bool


@dataclass(frozen=True, kw_only=True)
class InspectedFunction:
    """A function that a file defines."""

    #: Its domain.
    domain: str
    #: Its name, with its overload after a colon where it has one.
    name: str
    #: Its inputs.
    inputs: list[str]
    #: Its outputs.
    outputs: list[str]
    #: How many nodes it has.
    nodes: int
    #: The operator sets that it imports itself, by domain.
    opsets: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class WeightKind:
    """The weights of one element type."""

    #: The element type.
    dtype: str
    #: How many tensors there are.
    tensors: int
    #: How many elements they hold.
    elements: int
    #: How many bytes these take in the file, or beside it.
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of weights."""

    #: Its name.
    name: str
    #: Its element type.
    dtype: str
    #: Its dimensions.
    shape: list[int]
    #: The bytes of its elements.
    bytes: int
    #: The file that has them, where that is another one.
    external: str | None


@dataclass(frozen=True, kw_only=True)
class ExternalData:
    """A file of data beside the model."""

    #: Where it is, relative to the model's folder.
    location: str
    #: Its size; None where it is not there or may not be read.
    bytes: int | None
    #: The size it has to have at least.
    needed: int
    #: How many tensors have their elements in it.
    tensors: int
    #: Whether there is no such file.
    missing: bool
    #: Why it may not be read, where it may not.
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """What a model takes once loaded."""

    #: Weights, with what is made of them for speed.
    bytes: int
    #: Whether the model was prepared as for running; else this is what its weights take.
    prepared: bool


@dataclass(frozen=True, kw_only=True)
class InspectedBooster:
    """A booster: a native file's, or one in an ONNX file that `convert` wrote."""

    #: What it was trained for, as its library calls it.
    objective: str | None
    #: `trees` or `linear`.
    learner: str
    #: Trees.
    trees: int
    #: Nodes of all trees, leaves included.
    nodes: int
    #: Leaves of all trees.
    leaves: int
    #: Features of a row.
    features: int
    #: Margins of a row.
    targets: int
    #: Classes of a classifier; 0 for anything else.
    classes: int
    #: The names of the features, where the file has them.
    feature_names: list[str] | None
    #: Numbers of the features whose labels of categories the file has.
    categorical: list[int]


@dataclass(frozen=True, kw_only=True)
class LayerDescription:
    """The `config.json` that describes the layers of a safetensors file."""

    #: Whether there is one.
    found: bool
    #: Its size.
    bytes: int
    #: Its entries, shortened: numbers and texts as they are, lists and objects by their size.
    entries: dict[str, str]
    #: The types of the layers it lists, in order.
    layers: list[str]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Inspection:
    """What a model file holds, and everything that keeps it from being loaded.

    It prints itself for people.
    """

    #: Where the file is; None for bytes.
    path: Path | None
    #: Its size.
    file_bytes: int
    #: SHA-256 of it, in hexadecimal.
    digest: str
    #: The format: onnx, safetensors, xgboost, lightgbm or catboost; None for any other file.
    format: str | None
    #: Whether the file's structure could be read; where not, the problems say why.
    readable: bool
    #: Whether nothing was found that keeps it from being loaded.
    loadable: bool
    #: What wrote it.
    producer: str | None
    #: The version of that.
    producer_version: str | None
    #: The version of ONNX's intermediate representation.
    ir_version: int | None
    #: The version that the file gives the model.
    model_version: int | None
    #: The domain that the file gives the model.
    domain: str | None
    #: What the file's author says of it.
    doc_string: str | None
    #: The graph's name.
    graph_name: str | None
    #: What else the file says of itself.
    metadata: dict[str, str]
    #: The operator sets that it imports, by domain.
    opsets: dict[str, int]
    #: What a caller gives, as the file declares it.
    inputs: list[InspectedValue]
    #: What a caller gets, as the file declares it.
    outputs: list[InspectedValue]
    #: What the outputs mean; None where something keeps the model from being loaded.
    meaning: InspectedMeaning | None
    #: The operators, those used most first.
    operators: list[InspectedOperator]
    #: The functions that the file defines.
    functions: list[InspectedFunction]
    #: Weights by element type, the most bytes first.
    weights: list[WeightKind]
    #: How many tensors of weights there are.
    tensor_count: int
    #: How many numbers they hold together.
    parameters: int
    #: Tensors of weights, the largest first: 20 of an ONNX file, 10,000 of a safetensors file.
    tensors: list[StoredTensor]
    #: The files of data beside it.
    external: list[ExternalData]
    #: What it takes once loaded; None where even that is not known.
    memory: MemoryEstimate | None
    #: The boosters it holds.
    boosters: list[InspectedBooster]
    #: Of a safetensors file: the description of its layers.
    description: LayerDescription | None
    #: What keeps it from being loaded: all of it, where loading tells it in one error.
    problems: list[Problem]
    #: How many problems are not in that list.
    more_problems: int
    #: All of it as JSON has it.
    data: dict[str, Any] = field(repr=False)
    #: The report for people: what `str` gives.
    printed: str = field(repr=False)

    def __str__(self) -> str:
        """For people."""
        return self.printed

    def __repr__(self) -> str:
        """The most important in one line."""
        what = "model of bytes" if self.path is None else f"'{self.path}'"
        told = [self.format or "no format that is read"]
        if self.operators:
            told.append(f"{sum(one.count for one in self.operators)} nodes")
        if self.parameters:
            told.append(f"{self.parameters} parameters")
        wrong = len(self.problems) + self.more_problems
        told.append("loadable" if self.loadable else f"{wrong} problem{'s' * (wrong != 1)}")
        return f"<modelserve.Inspection of {what}: {', '.join(told)}>"


_LISTS: Mapping[str, type] = {
    "operators": InspectedOperator,
    "functions": InspectedFunction,
    "weights": WeightKind,
    "tensors": StoredTensor,
    "external": ExternalData,
    "boosters": InspectedBooster,
    "problems": Problem,
}
_SINGLE: Mapping[str, type] = {
    "meaning": InspectedMeaning,
    "memory": MemoryEstimate,
    "description": LayerDescription,
}


def _value(told: Mapping[str, Any]) -> InspectedValue:
    fields = dict(told)
    return InspectedValue(type_name=fields.pop("type"), **fields)


def _made(data: dict[str, Any], printed: str) -> Inspection:
    """The inspection that the compiled module tells as JSON."""
    fields = dict(data)
    fields["path"] = None if data["path"] is None else Path(data["path"])
    for name in ("inputs", "outputs"):
        fields[name] = [_value(one) for one in data[name]]
    for name, kind in _LISTS.items():
        fields[name] = [kind(**one) for one in data[name]]
    for name, kind in _SINGLE.items():
        fields[name] = None if data[name] is None else kind(**data[name])
    return Inspection(data=data, printed=printed, **fields)
