"""`modelserve inspect`: what a model file holds, and what keeps it from being loaded."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._native import Info, TensorSpec, inspect, load
from ..errors import ModelServeError
from ..inspection import ExternalData, InspectedBooster, InspectedOperator, Inspection, Problem
from .models import model_file, shape_of
from .output import CommandError, ExitCode, Output, counted, duration, size

EXAMPLES = (
    "modelserve inspect iris.onnx",
    "modelserve inspect iris.onnx --json | jq .signature.inputs",
    "modelserve inspect unsupported.onnx --json | jq .problems",
)

#: How many names of features, classes and operators people are shown.
_SHOWN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", metavar="FILE", help="a model file, or a folder with one")
    parser.add_argument("--all", action="store_true", help="show long lists whole")


def run(args: argparse.Namespace, out: Output) -> int:
    """Looks at the file, loads it where nothing speaks against it, and prints what is known."""
    path = model_file(args.model)
    found = inspect(path)
    if not found.readable:
        raise CommandError(_unreadable(path, found))
    info, problems = None, found.problems
    if found.loadable:
        try:
            info = load(path).info()
        except ModelServeError as error:
            problems = [*problems, _problem(error)]
    if out.json:
        out.emit(_data(path, found, info, problems))
    else:
        _show(out, found, info, problems, None if args.all else _SHOWN)
    return ExitCode.OK if info is not None else ExitCode.NO


def _unreadable(path: Path, found: Inspection) -> str:
    said = "; ".join(map(str, found.problems)) or "nothing of it can be read"
    return said if str(path) in said else f"{path}: {said}"


def _problem(error: ModelServeError) -> Problem:
    kind = type(error).__name__.removesuffix("Error")
    return Problem(kind=kind, message=str(error), operator=None, opset=None, nodes=[], count=0)


def _graph(found: Inspection) -> dict[str, Any] | None:
    """Opsets, operators and parameters of an ONNX file."""
    if found.format != "onnx":
        return None
    operators = Counter[str]()
    for one in found.operators:
        operators[one.name if one.domain == "ai.onnx" else f"{one.domain}.{one.name}"] += one.count
    return {
        "ir_version": found.ir_version,
        "opsets": found.opsets,
        "operators": dict(operators.most_common()),
        "parameters": found.parameters,
    }


def _spec(one: TensorSpec) -> dict[str, Any]:
    return {
        "name": one.name,
        "dtype": one.dtype,
        "shape": one.shape,
        "batch_axis": one.batch_axis,
        "type": one.type_name,
    }


def _data(
    path: Path, found: Inspection, info: Info | None, problems: list[Problem]
) -> dict[str, Any]:
    signature = None if info is None else info.signature
    if signature is None:
        declared = {
            name: [one | {"batch_axis": None} for one in found.data[name]]
            for name in ("inputs", "outputs")
        }
    else:
        declared = {
            "inputs": [_spec(one) for one in signature.inputs],
            "outputs": [_spec(one) for one in signature.outputs],
        }
    metadata = found.metadata if info is None else dict(info.metadata)
    return {
        "path": str(path),
        "format": found.format,
        "file_bytes": found.file_bytes,
        "digest": found.digest,
        "loadable": info is not None,
        "problems": [vars(one) for one in problems],
        "task": signature and signature.task,
        "signature": declared,
        "classes": signature and signature.classes,
        "feature_names": signature and signature.feature_names,
        "targets": signature and signature.targets,
        "has_probabilities": signature and signature.has_probabilities,
        "weight_bytes": info and info.weight_bytes,
        "load_ms": info and info.load_ms,
        "fast_path": info and info.fast_path,
        "metadata": metadata,
        "graph": _graph(found),
        "inspection": found.data,
    }


def _show(
    out: Output, found: Inspection, info: Info | None, problems: list[Problem], most: int | None
) -> None:
    signature = None if info is None else info.signature
    out.title(str(found.path or "model"))
    made = " ".join(filter(None, (found.producer, found.producer_version)))
    task = None
    if signature is not None:
        task = signature.task
        if signature.classes:
            task += f", {len(signature.classes)} classes"
        if signature.has_probabilities:
            task += ", with probabilities"
    format_name = found.format or "none that is read"
    out.facts(
        [
            ("format", format_name + (f" (by {made})" if made else "")),
            ("model version", found.model_version),
            ("domain", found.domain),
            ("description", found.doc_string),
            ("task", task),
            ("classes", _list(signature.classes if signature else None, most)),
            ("features", _list(signature.feature_names if signature else None, most)),
            ("IR version", found.ir_version),
            ("opsets", _pairs(found.opsets)),
            ("operators", _list(map(_operator, found.operators), most)),
            ("functions", _list([f"{f.domain}:{f.name}" for f in found.functions], most)),
            ("booster", _list(map(_booster, found.boosters), most)),
            ("layers", _list(found.description.layers if found.description else None, most)),
            ("config.json", _config(found)),
            ("parameters", f"{found.parameters:,}" if found.parameters else None),
            ("weights", _list([f"{size(w.bytes)} of {w.dtype}" for w in found.weights], most)),
            ("largest", _list([f"{t.name} ({size(t.bytes)})" for t in found.tensors], 3)),
            ("data files", _list(map(_beside, found.external), most)),
            ("memory", _memory(found, info)),
            ("file", f"{size(found.file_bytes)}, sha256 {found.digest}"),
            ("loaded in", duration(info.load_ms / 1e3) if info else None),
            ("one row", info and _row(info)),
        ]
    )
    if signature is not None:
        rows = [("input", one.name, shape_of(one)) for one in signature.inputs]
        rows += [("output", one.name, shape_of(one)) for one in signature.outputs]
    else:
        rows = [("input", one.name, one.type_name) for one in found.inputs]
        rows += [("output", one.name, one.type_name) for one in found.outputs]
    out.table(("", "name", "type"), rows)
    if problems:
        out.table(("kind", "problem"), [(one.kind, str(one)) for one in problems])
        more = counted(len(problems) + found.more_problems, "problem")
        out.verdict(False, f"{more}: the model cannot be loaded")


def _list(values: Iterable[object] | None, most: int | None) -> str | None:
    told = list(map(str, values or ()))
    if not told:
        return None
    shown = ", ".join(told[:most])
    more = 0 if most is None else len(told) - most
    return f"{shown}, … {more} more (--all)" if more > 0 else shown


def _pairs(versions: dict[str, int]) -> str | None:
    return _list([f"{domain} {version}" for domain, version in versions.items()], None)


def _operator(one: InspectedOperator) -> str:
    name = one.name if one.domain == "ai.onnx" else f"{one.domain}.{one.name}"
    told = f"{name} ({one.count})" if one.count > 1 else name
    return told if one.supported else f"{told}: not implemented"


def _booster(one: InspectedBooster) -> str:
    what = counted(one.trees, "tree") if one.learner == "trees" else one.learner
    told = f"{what}, {counted(one.features, 'feature')}"
    told += f", {one.classes} classes" if one.classes else f", {counted(one.targets, 'target')}"
    return f"{told}, {one.objective}" if one.objective else told


def _config(found: Inspection) -> str | None:
    description = found.description
    if description is None:
        return None
    if not description.found:
        return "not there: a safetensors file needs the description of its layers"
    told = [f"{name} = {value}" for name, value in description.entries.items()]
    return _list(told, _SHOWN) or "no JSON object"


def _beside(one: ExternalData) -> str:
    if one.bytes is None:
        return f"{one.location}: {'missing' if one.missing else one.refused}"
    short = f", {size(one.needed)} needed" if one.bytes < one.needed else ""
    return f"{one.location} ({size(one.bytes)}{short})"


def _memory(found: Inspection, info: Info | None) -> str | None:
    if info is not None:
        return f"{size(info.weight_bytes)} of weights"
    return f"{size(found.memory.bytes)} of weights, at least" if found.memory else None


def _row(info: Info) -> str:
    return "without a tensor (fast path)" if info.fast_path else "by the graph"
