"""`modelserve replay`: recorded requests put to a model."""

from __future__ import annotations

import argparse
import math

from .._native import replay
from .arguments import tolerance
from .models import load_model
from .output import ExitCode, Output, counted, duration

EXAMPLES = (
    "modelserve replay requests.jsonl iris_v2.onnx",
    "modelserve replay requests.jsonl iris_v2.onnx --recorded-as iris --tolerance 1e-3",
)

_TIMES = ("p50_ms", "p90_ms", "p99_ms", "max_ms")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "recording", metavar="RECORDING", help="a file of ModelManager.record (docs/repository.md)"
    )
    parser.add_argument("model", metavar="MODEL", help="a model file, or a folder with one")
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=1e-5,
        metavar="X",
        help="how far a number may be off, absolutely or relatively (default 1e-5)",
    )
    parser.add_argument(
        "--recorded-as", metavar="NAME", help="only the requests of this model of the recording"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Replays; the answer is no when an answer differs, fails, or nothing was replayed."""
    model = load_model(args.model)
    report = replay(args.recording, model, tolerance=args.tolerance, recorded_as=args.recorded_as)
    same = report["requests"] > 0 and report["disagreements"] == 0
    if out.json:
        out.emit({"recording": args.recording, "model": args.model, "same": same} | report)
        return ExitCode.OK if same else ExitCode.NO
    requests, differ = report["requests"], report["disagreements"]
    if not requests:
        named = f" of '{args.recorded_as}'" if args.recorded_as else ""
        out.verdict(False, f"{args.recording} holds no requests{named}")
    elif same:
        out.verdict(True, f"{counted(requests, 'request')}, all answered as recorded")
    else:
        failed = report["failures"]
        more = f", {failed:,} of them failed" if failed else ""
        share = differ / requests
        out.verdict(False, f"{differ:,} of {requests:,} requests ({share:.2%}) differ{more}")
    worst = report["worst"]
    out.facts(
        [
            ("largest difference", _number(report["max_difference"]) if requests else None),
            (
                "worst",
                f"line {worst['line']}, {worst['entry']}: {worst['old']} recorded, "
                f"{worst['new']} now"
                if worst
                else None,
            ),
            ("unreadable lines", report["malformed"] or None),
            ("cut off", "the recording ends within a line" if report["truncated"] else None),
        ]
    )
    if requests:
        rows = [
            (when, *(duration(report[side][key] / 1e3) for key in _TIMES))
            for when, side in (("recorded", "old"), ("now", "new"))
        ]
        out.table(("latency", "p50", "p90", "p99", "max"), rows, right=(1, 2, 3, 4))
    return ExitCode.OK if same else ExitCode.NO


def _number(difference: float) -> str:
    return f"{difference:.3g}" if math.isfinite(difference) else "a label, or no number"
