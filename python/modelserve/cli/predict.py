"""`modelserve predict`: the rows of a file, predicted."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .arguments import thread_count
from .data import FORMATS, Batch, Columns, Rows, open_rows, places
from .data.answers import answer_columns
from .data.formats import format_of
from .data.writers import writing
from .models import load_model
from .output import CommandError, ExitCode, Output, duration

EXAMPLES = (
    "modelserve predict iris.onnx flowers.csv -o answers.parquet",
    "modelserve predict iris.onnx flowers.csv --columns 1,2,3,4 --keep id",
    "cat flowers.jsonl | modelserve predict iris.onnx - > answers.csv",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model file, or a folder with one")
    parser.add_argument(
        "input", metavar="INPUT", help="rows: .csv, .parquet, .json, .jsonl, .npy; - for stdin"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; default: stdout")
    parser.add_argument("--format", choices=FORMATS, help="the input's format; default: its name's")
    parser.add_argument(
        "--output-format", choices=FORMATS, help="default: the output's name's; CSV on stdout"
    )
    parser.add_argument(
        "--columns", metavar="LIST", help="columns for the model: names, or numbers from 1 as 1-4,7"
    )
    parser.add_argument("--keep", metavar="LIST", help="columns to write beside the answers")
    parser.add_argument(
        "--batch-size", type=int, default=4096, metavar="N", help="rows at once (default 4096)"
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads of a batch; default: the CPU quota",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Predicts batch by batch and writes each answer as it is there."""
    if not 1 <= args.batch_size <= 65536:
        raise CommandError(f"--batch-size: expected 1 to 65536, got {args.batch_size}")
    kind = args.output_format or (format_of(args.output) if args.output else None)
    kind = kind or ("jsonl" if out.json else "csv")
    if out.json and not args.output and kind != "jsonl":
        raise CommandError(f"--json prints JSON lines; {kind} goes into a file (-o)")
    model = load_model(args.model, threads=args.threads)
    rows = open_rows(args.input, args.format)
    columns = Columns(rows, model.signature, args.columns)
    kept = places(rows, args.keep) if args.keep else []
    began, asked = time.perf_counter(), 0
    with (
        writing(args.output, kind) as writer,
        out.progress("predicting", rows.total, amid=not args.output) as show,
    ):
        for batch in rows.batches(args.batch_size):
            try:
                answers = model.predict_batch(columns.take(batch))
            except InvalidInputError as error:
                last = batch.first + batch.rows
                place = f"{rows.source}, rows {batch.first + 1} to {last}"
                raise CommandError(f"{place}: {error}") from error
            answered = answer_columns(answers)
            labels = _labels(rows, columns, kept, answered)
            table = {label: _kept(batch, k) for label, k in zip(labels, kept, strict=True)}
            writer.write(table | answered)
            asked += batch.rows
            show(rows.done)
    took = time.perf_counter() - began
    if args.output and out.json:
        out.emit({"rows": asked, "seconds": took, "output": args.output, "format": kind})
    elif args.output:
        rate = f"{asked / took:,.0f} rows a second" if took else ""
        out.verdict(True, f"{asked:,} rows to {args.output} in {duration(took)} ({rate})")
    return ExitCode.OK


def _labels(rows: Rows, columns: Columns, kept: list[int], answered: Collection[str]) -> list[str]:
    """The names of the kept columns; `CommandError` where a column would hide another one."""
    labels = [columns.label(k) for k in kept]
    for label in labels:
        if label in answered:
            raise CommandError(
                f"--keep: '{label}' of {rows.source} has the name of an answer; rename it there, "
                "or leave it out"
            )
        if labels.count(label) > 1:
            raise CommandError(
                f"--keep: two columns of the name '{label}'; name each once, or rename one of them "
                f"in {rows.source}"
            )
    return labels


def _kept(batch: Batch, column: int) -> NDArray[Any]:
    cells = batch.columns[column]
    if isinstance(cells, np.ndarray):
        return cells
    array = np.empty(batch.rows, dtype=object)
    array[:] = cells
    return array
