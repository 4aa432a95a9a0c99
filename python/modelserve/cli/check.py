"""`modelserve check`: golden requests put to a model."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from .._native import ModelManager, load
from ..errors import InvalidModelError, ModelServeError
from ..gate import Gate
from ..reports import GateReport
from .alone import without_requests
from .models import model_file
from .output import CommandError, ExitCode, Output, counted

EXAMPLES = (
    "modelserve check models/iris/3/model.onnx models/iris/3/golden.jsonl",
    "modelserve check models/iris/3                # its own golden.jsonl",
)

_NAME = "model"
_LINE = re.compile(r"golden request of line (\d+): (.*)", re.DOTALL)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", metavar="MODEL", help="a model file, or a folder with one")
    parser.add_argument(
        "golden",
        metavar="GOLDEN",
        nargs="?",
        help="requests and their answers, a JSON object a line (docs/repository.md); "
        "default: golden.jsonl beside the model",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Asks each golden request; the answer is no when one is answered otherwise."""
    given = Path(args.model)
    beside = given if given.is_dir() else given.parent
    golden = Path(args.golden) if args.golden else beside / "golden.jsonl"
    text = golden.read_bytes()
    if not text.strip():
        raise CommandError(f"{golden} has no requests")
    path = model_file(args.model)
    report = _report(path, golden)
    failures = [_failure(reason) for reason in report.reasons]
    if out.json:
        out.emit(
            {
                "model": str(path),
                "golden": str(golden),
                "passed": report.accepted,
                "requests": report.golden,
                "failed": report.golden_failed,
                "failures": failures,
            }
        )
    else:
        # Not `splitlines`, which ends lines within a text of JSON too (U+2028).
        lines = text.decode("utf-8", "replace").split("\n")
        _show(out, report.golden, report.golden_failed, failures, lines)
    return ExitCode.OK if report.accepted else ExitCode.NO


def _report(path: Path, golden: Path) -> GateReport:
    """How the model answers these golden requests, and no others that may lie beside it."""
    manager = ModelManager()
    with without_requests(path) as alone:
        try:
            manager.load(_NAME, alone)
        except ModelServeError:
            # The same error, with the path that was given.
            load(path)
            raise
        try:
            # The gate of a reload, which is what a version of a repository has to pass as well.
            manager.load_version(_NAME, alone, gate=Gate(golden=golden, replay_last=0))
        except InvalidModelError:
            if manager.gate_report(_NAME) is None:
                raise
    report = manager.gate_report(_NAME)
    assert report is not None
    return report


def _failure(reason: str) -> dict[str, Any]:
    found = _LINE.fullmatch(reason)
    if found is None:
        return {"line": None, "message": reason}
    return {"line": int(found[1]), "message": found[2]}


def _show(
    out: Output, asked: int, failed: int, failures: list[dict[str, Any]], lines: list[str]
) -> None:
    if not failed:
        out.verdict(True, f"{counted(asked, 'golden request')}, all answered as expected")
        return
    out.verdict(False, f"{failed} of {asked} golden requests are not answered as expected")
    rows = [(f["line"], _asked(lines, f["line"]), f["message"]) for f in failures]
    out.table(("line", "request", "what differs"), rows, right=(0,))
    if failed > len(failures):
        out.console.print(f"  … and {failed - len(failures)} more")


def _asked(lines: list[str], line: int | None) -> str:
    """A request as people recognise it: its input, cut short."""
    if line is None or line > len(lines):
        return ""
    request = json.loads(lines[line - 1])
    text = str(request.get("row", request.get("rows", request.get("inputs"))))
    return text if len(text) <= 48 else text[:47] + "…"
