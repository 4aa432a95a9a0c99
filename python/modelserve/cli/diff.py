"""`modelserve diff`: two models on the same rows."""

from __future__ import annotations

import argparse
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import tolerance
from .data import FORMATS, Batch, Columns, open_rows
from .data.answers import answer_columns
from .models import load_model
from .output import CommandError, ExitCode, Output

EXAMPLES = (
    "modelserve diff iris_v1.onnx iris_v2.onnx flowers.csv",
    "modelserve diff old.onnx new.onnx rows.parquet --tolerance 0.01 --worst 10 --json",
)

#: The tasks whose prediction is a label: it changes, or it does not.
_LABELLED = ("classifier", "multilabel", "outlier", "cluster")


@dataclass
class _Comparison:
    """What two models answered, as far as they differ."""

    worst_kept: int
    tolerance: float
    rows: int = 0
    label_changes: int = 0
    beyond: int = 0
    #: Rows with a changed label or a number beyond the tolerance.
    different: int = 0
    max_difference: float = 0.0
    changes: Counter[tuple[Any, Any]] = field(default_factory=Counter)
    #: A heap of the worst rows: badness, a number against ties, the row.
    worst: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)

    def add(
        self, batch: Batch, a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]], labelled: bool
    ) -> None:
        changed = np.zeros(batch.rows, dtype=bool)
        difference = np.zeros(batch.rows)
        for name in a:
            label = labelled and name.startswith("prediction")
            if label or a[name].dtype == object or b[name].dtype == object:
                changed |= np.asarray(a[name] != b[name], dtype=bool)
                continue
            difference = np.maximum(difference, _difference(a[name], b[name]))
        self.rows += batch.rows
        self.label_changes += int(changed.sum())
        self.beyond += int((difference > self.tolerance).sum())
        self.different += int((changed | (difference > self.tolerance)).sum())
        self.max_difference = max(self.max_difference, float(difference.max()))
        if labelled and "prediction" in a:
            pairs = zip(a["prediction"][changed], b["prediction"][changed], strict=True)
            self.changes.update((_python(old), _python(new)) for old, new in pairs)
        self._keep(batch, a, b, changed, difference)

    def _keep(
        self,
        batch: Batch,
        a: dict[str, NDArray[Any]],
        b: dict[str, NDArray[Any]],
        changed: NDArray[Any],
        difference: NDArray[Any],
    ) -> None:
        # Any changed label is worse than any number: beyond the numbers' range of 0 to infinity.
        badness = np.where(changed, 1.0, 0.0) + difference / (1.0 + difference)
        badness[np.isinf(difference)] = 1.0 + changed[np.isinf(difference)]
        for row in np.argsort(-badness, kind="stable")[: self.worst_kept]:
            if not changed[row] and difference[row] == 0:
                break
            number = batch.first + int(row) + 1
            entry = {
                "row": number,
                "where": batch.where(int(row)),
                "label_changed": bool(changed[row]),
                "difference": float(difference[row]),
                "a": {name: _python(column[row]) for name, column in a.items()},
                "b": {name: _python(column[row]) for name, column in b.items()},
            }
            heapq.heappush(self.worst, (float(badness[row]), -number, entry))
            if len(self.worst) > self.worst_kept:
                heapq.heappop(self.worst)

    @property
    def same(self) -> bool:
        # No row shows nothing.
        return self.rows > 0 and not self.different

    def worst_rows(self) -> list[dict[str, Any]]:
        return [
            entry for _, _, entry in sorted(self.worst, key=lambda kept: kept[:2], reverse=True)
        ]


def _python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _difference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """How far numbers are apart: relative to the larger one where that is above 1."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(a - b) / np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    # One is no number and the other is.
    gaps: NDArray[Any] = np.nan_to_num(found, nan=np.inf, posinf=np.inf)
    return gaps


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("a", metavar="MODEL_A", help="a model file, or a folder with one")
    parser.add_argument("b", metavar="MODEL_B", help="the one to compare it with")
    parser.add_argument("data", metavar="DATA", help="rows, as `modelserve predict` reads them")
    parser.add_argument("--format", choices=FORMATS, help="the data's format; default: its name's")
    parser.add_argument(
        "--columns",
        metavar="LIST",
        help="columns for the models: names, or numbers from 1 as 1-4,7",
    )
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=1e-5,
        metavar="X",
        help="how far a number may be off, absolutely, or relative to numbers above 1 "
        "(default 1e-5)",
    )
    parser.add_argument(
        "--worst", type=int, default=5, metavar="N", help="how many rows to show (default 5)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Compares; the answer is no when a label changes or a number is beyond the tolerance."""
    a, b = load_model(args.a), load_model(args.b)
    rows = open_rows(args.data, args.format)
    left, right = (Columns(rows, model.signature, args.columns) for model in (a, b))
    labelled = a.signature.task in _LABELLED
    found = _Comparison(worst_kept=max(args.worst, 0), tolerance=args.tolerance)
    with out.progress("comparing", rows.total) as show:
        for batch in rows.batches(4096):
            if not batch.rows:
                break
            one = answer_columns(a.predict_batch(left.take(batch)))
            other = answer_columns(b.predict_batch(right.take(batch)))
            if list(one) != list(other):
                raise CommandError(
                    f"the models answer different things: {args.a} {', '.join(one)}; "
                    f"{args.b} {', '.join(other)}"
                )
            found.add(batch, one, other, labelled)
            show(rows.done)
    _tell(args, out, found)
    return ExitCode.OK if found.same else ExitCode.NO


def _tell(args: argparse.Namespace, out: Output, found: _Comparison) -> None:
    changes = [{"from": x, "to": y, "rows": n} for (x, y), n in found.changes.most_common()]
    if out.json:
        out.emit(
            {
                "a": args.a,
                "b": args.b,
                "same": found.same,
                "rows": found.rows,
                "different_rows": found.different,
                "label_changes": found.label_changes,
                "changes": changes,
                "beyond_tolerance": found.beyond,
                "tolerance": args.tolerance,
                "max_difference": found.max_difference,
                "worst": found.worst_rows(),
            }
        )
        return
    if not found.rows:
        out.verdict(False, f"{args.data} has no rows")
    elif found.same:
        out.verdict(True, f"{found.rows:,} rows answered alike")
    else:
        out.verdict(False, f"the models differ on {found.different:,} of {found.rows:,} rows")
    share = f" ({found.label_changes / found.rows:.2%})" if found.rows else ""
    out.facts(
        [
            ("label changes", f"{found.label_changes:,}{share}"),
            ("largest difference", f"{found.max_difference:.3g}"),
            ("beyond the tolerance", f"{found.beyond:,} rows (tolerance {args.tolerance:g})"),
        ]
    )
    if changes:
        heads = ("label of A", "label of B", "rows")
        shown = [(c["from"], c["to"], f"{c['rows']:,}") for c in changes[:10]]
        out.table(heads, shown, right=(2,))
    if worst := found.worst_rows():
        rows = [
            (entry["where"], f"{entry['difference']:.3g}", _brief(entry["a"]), _brief(entry["b"]))
            for entry in worst
        ]
        out.table(("worst rows", "difference", "A", "B"), rows, right=(1,))


def _brief(answer: dict[str, Any]) -> str:
    """An answer in a cell: the prediction, and the numbers beside it."""
    values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in answer.values()]
    shown = " ".join(values[:6])
    return shown + (" …" if len(values) > 6 else "")
