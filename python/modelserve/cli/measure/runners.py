"""The same calls to this library and to onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._native import Model, TensorSpec
from ..data import Columns, open_rows
from ..output import CommandError

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Runner:
    """A way to run the model."""

    #: modelserve or onnxruntime.
    name: str
    #: Its version.
    version: str
    #: Makes a call that predicts the rows of a feed; what a call returns is of no interest.
    prepare: Callable[[Feed], Callable[[], object]]
    #: Answers a feed, output by output.
    run: Callable[[Feed], dict[str, Any]]


def runners(model: Model, path: Path, *, against: bool, threads: int) -> list[Runner]:
    """This library, and onnxruntime where it is wanted, installed and reads the file."""
    from ... import __version__

    found = [Runner("modelserve", __version__, _prepared(model), lambda feed: model.run(feed))]
    if against and model.info().format == "onnx":
        try:
            import onnxruntime
        except ImportError:
            return found
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # Its exceptions have no common base but this.
            reason = str(error).splitlines()[0]
            raise CommandError(
                f"onnxruntime cannot load {path}: {reason}; --alone measures without it"
            ) from error
        names = [output.name for output in session.get_outputs()]

        def run(feed: Feed) -> dict[str, Any]:
            return dict(zip(names, session.run(None, feed), strict=True))

        def prepare(feed: Feed) -> Callable[[], object]:
            return lambda: session.run(None, feed)

        found.append(Runner("onnxruntime", onnxruntime.__version__, prepare, run))
    return found


def _prepared(model: Model) -> Callable[[Feed], Callable[[], object]]:
    single = len(model.signature.inputs) == 1

    def prepare(feed: Feed) -> Callable[[], object]:
        if not single:
            return lambda: model.run(feed)
        (rows,) = feed.values()
        if len(rows) == 1:
            row = rows[0]
            return lambda: model.predict(row)
        return lambda: model.predict_batch(rows)

    return prepare


def feed_of(model: Model, rows: int, data: str | None) -> Feed:
    """`rows` rows for the model: those of a file, repeated, or random ones, always the same."""
    inputs = model.signature.inputs
    if data is None:
        random = np.random.default_rng(0)
        return {spec.name: _random(spec, rows, random) for spec in inputs}
    source = open_rows(data)
    batch = next(source.batches(rows))
    if not batch.rows:
        raise CommandError(f"{data} has no rows")
    taken = Columns(source, model.signature, None).take(batch)
    feed = taken if isinstance(taken, dict) else {inputs[0].name: taken}
    return {
        spec.name: np.resize(feed[spec.name], _shape(spec, rows, len(feed[spec.name])))
        for spec in inputs
    }


def _shape(spec: TensorSpec, rows: int, given: int) -> tuple[int, ...]:
    dims = [1 if not isinstance(dim, int) else dim for dim in (spec.shape or [None, 1])]
    dims[spec.batch_axis or 0] = max(rows, given)
    return tuple(dims)


def _random(spec: TensorSpec, rows: int, random: np.random.Generator) -> NDArray[Any]:
    shape = _shape(spec, rows, 0)
    dtype = spec.dtype or "float32"
    if dtype.startswith("float"):
        return random.standard_normal(shape).astype(dtype)
    if dtype in ("str", "string"):
        return np.full(shape, "a", dtype=object)
    # Small whole numbers are valid as tokens, categories and counts alike.
    return random.integers(0, 2, shape).astype(dtype)
