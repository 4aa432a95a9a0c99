"""`modelserve inspect`: what a model file holds."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from .._native import Info, TensorSpec
from .models import load_model, shape_of
from .output import ExitCode, Output, duration, size

EXAMPLES = (
    "modelserve inspect iris.onnx",
    "modelserve inspect iris.onnx --json | jq .signature.inputs",
)

#: How many names of features, classes and operators people are shown.
_SHOWN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", metavar="FILE", help="a model file, or a folder with one")
    parser.add_argument("--all", action="store_true", help="show long lists whole")


def run(args: argparse.Namespace, out: Output) -> int:
    """Loads the model and prints what is known of it."""
    info = load_model(args.model).info()
    graph = _graph(info)
    if out.json:
        out.emit(_data(info, graph))
    else:
        _show(out, info, graph, None if args.all else _SHOWN)
    return ExitCode.OK


def _graph(info: Info) -> dict[str, Any] | None:
    """Opsets, operators and parameters, read by the package onnx where that is installed."""
    if info.format != "onnx" or info.path is None:
        return None
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(info.path, load_external_data=False)
    graphs, operators, parameters = [model.graph], Counter[str](), 0
    graphs += list(model.functions)
    while graphs:
        graph = graphs.pop()
        for tensor in getattr(graph, "initializer", ()):
            count = 1
            for dim in tensor.dims:
                count *= dim
            parameters += count
        for node in graph.node:
            operators[f"{node.domain}.{node.op_type}" if node.domain else node.op_type] += 1
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += list(attribute.graphs)
    return {
        "ir_version": model.ir_version,
        "opsets": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "operators": dict(operators.most_common()),
        "parameters": parameters,
    }


def _data(info: Info, graph: dict[str, Any] | None) -> dict[str, Any]:
    signature = info.signature
    path = info.path

    def spec(one: TensorSpec) -> dict[str, Any]:
        return {
            "name": one.name,
            "dtype": one.dtype,
            "shape": one.shape,
            "batch_axis": one.batch_axis,
            "type": one.type_name,
        }

    return {
        "path": None if path is None else str(path),
        "format": info.format,
        "file_bytes": None if path is None else path.stat().st_size,
        "digest": info.digest,
        "task": signature.task,
        "signature": {
            "inputs": [spec(one) for one in signature.inputs],
            "outputs": [spec(one) for one in signature.outputs],
        },
        "classes": signature.classes,
        "feature_names": signature.feature_names,
        "targets": signature.targets,
        "has_probabilities": signature.has_probabilities,
        "weight_bytes": info.weight_bytes,
        "load_ms": info.load_ms,
        "fast_path": info.fast_path,
        "metadata": dict(info.metadata),
        "graph": graph,
    }


def _show(out: Output, info: Info, graph: dict[str, Any] | None, most: int | None) -> None:
    signature = info.signature
    path = info.path or Path("model")
    out.title(str(path))
    made = " ".join(
        filter(None, (info.metadata.get("producer_name"), info.metadata.get("producer_version")))
    )
    task = signature.task
    if signature.classes:
        task += f", {len(signature.classes)} classes"
    if signature.has_probabilities:
        task += ", with probabilities"
    out.facts(
        [
            ("format", info.format + (f" (by {made})" if made else "")),
            ("task", task),
            ("classes", _list(signature.classes, most)),
            ("features", _list(signature.feature_names, most)),
            ("opsets", _opsets(graph)),
            ("operators", _operators(graph, most)),
            ("parameters", f"{graph['parameters']:,}" if graph and graph["parameters"] else None),
            ("memory", f"{size(info.weight_bytes)} of weights"),
            ("file", f"{size(path.stat().st_size)}, sha256 {info.digest}"),
            ("loaded in", duration(info.load_ms / 1e3)),
            ("one row", "without a tensor (fast path)" if info.fast_path else "by the graph"),
        ]
    )
    rows = [("input", one.name, shape_of(one)) for one in signature.inputs]
    rows += [("output", one.name, shape_of(one)) for one in signature.outputs]
    out.table(("", "name", "type"), rows)


def _list(values: list[int] | list[str] | None, most: int | None) -> str | None:
    if values is None:
        return None
    shown = ", ".join(map(str, values[:most]))
    more = 0 if most is None else len(values) - most
    return f"{shown}, … {more} more (--all)" if more > 0 else shown


def _opsets(graph: dict[str, Any] | None) -> str | None:
    if graph is None:
        return None
    return ", ".join(f"{domain} {version}" for domain, version in graph["opsets"].items())


def _operators(graph: dict[str, Any] | None, most: int | None) -> str | None:
    if graph is None:
        return None
    names = [f"{name} ({n})" if n > 1 else name for name, n in graph["operators"].items()]
    return _list(names, most)
