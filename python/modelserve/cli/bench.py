"""`modelserve bench`: how fast a model answers here."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .arguments import thread_count
from .measure import Agreement, Latency, Runner, Throughput, compare, draw, latency, throughput
from .measure.runners import feed_of, runners
from .models import load_model
from .output import CommandError, ExitCode, Output, duration

EXAMPLES = (
    "modelserve bench iris.onnx",
    "modelserve bench iris.onnx --threads 1,4 --batch-sizes 1,64,4096 --plot bench.svg",
)

#: Rows on which the answers are compared.
_COMPARED = 256


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    cores = os.cpu_count() or 1
    parser.add_argument("model", metavar="MODEL", help="a model file, or a folder with one")
    parser.add_argument(
        "--data", metavar="FILE", help="rows to ask; default: random ones, the same each time"
    )
    parser.add_argument(
        "--threads",
        type=_numbers,
        default=sorted({1, cores}),
        metavar="N,…",
        help=f"threads that ask at once (default 1,{cores})",
    )
    parser.add_argument(
        "--batch-sizes",
        type=_numbers,
        default=[1, 32, 256],
        metavar="N,…",
        help="rows of a call (default 1,32,256)",
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, metavar="S", help="of each measurement (default 0.5)"
    )
    parser.add_argument(
        "--run-threads",
        type=thread_count,
        default=1,
        metavar="N",
        help="threads within a call, of both libraries (default 1)",
    )
    parser.add_argument(
        "--alone", action="store_true", help="without onnxruntime, where it is installed"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw a picture: .svg, .png, .pdf")


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("numbers from 1 on are expected")
    return numbers


def run(args: argparse.Namespace, out: Output) -> int:
    """Compares the answers, then measures; the answer is no when they differ."""
    # Not `<=`, which lets NaN pass.
    if not args.seconds > 0:
        raise CommandError(f"--seconds: expected more than 0, got {args.seconds:g}")
    model = load_model(args.model, threads=args.run_threads)
    path = Path(model.info().path or args.model)
    found = runners(model, path, against=not args.alone, threads=args.run_threads)
    most = max(*args.batch_sizes, _COMPARED)
    rows = feed_of(model, most, args.data)
    agreement = None
    if len(found) > 1:
        agreement = compare(found[0], found[1], {name: a[:_COMPARED] for name, a in rows.items()})
        if not agreement.same:
            _tell(args, out, found, agreement, {}, [])
            return ExitCode.NO

    def calls(batch_size: int) -> dict[str, Any]:
        feed = {name: array[:batch_size] for name, array in rows.items()}
        return {runner.name: runner.prepare(feed) for runner in found}

    cells = [(threads, size) for threads in args.threads for size in args.batch_sizes]
    grid = []
    with out.progress("measuring", len(cells) + 1) as show:
        latencies = latency(calls(1), args.seconds)
        for k, (threads, size) in enumerate(cells, 1):
            show(k)
            one = throughput(calls(size), threads=threads, batch_size=size, seconds=args.seconds)
            grid.append(one)
    if args.plot:
        draw(args.plot, str(path), latencies, grid)
    _tell(args, out, found, agreement, latencies, grid)
    return ExitCode.OK


def _tell(
    args: argparse.Namespace,
    out: Output,
    found: list[Runner],
    agreement: Agreement | None,
    latencies: dict[str, Latency],
    grid: list[Throughput],
) -> None:
    if out.json:
        same = {} if agreement is None else {"same": agreement.same}
        out.emit(
            {
                "model": args.model,
                "cores": os.cpu_count(),
                "run_threads": args.run_threads,
                "seconds": args.seconds,
                "versions": {runner.name: runner.version for runner in found},
                "agreement": None if agreement is None else asdict(agreement) | same,
                "latency": {
                    name: {
                        "p50_us": one.p50 * 1e6,
                        "p90_us": one.p90 * 1e6,
                        "p99_us": one.p99 * 1e6,
                        "calls": one.calls,
                    }
                    for name, one in latencies.items()
                },
                "throughput": [asdict(one) for one in grid],
                "plot": args.plot if grid else None,
            }
        )
        return
    beside = " beside ".join(f"{runner.name} {runner.version}" for runner in found)
    out.title(f"{Path(args.model)}: {beside}")
    if agreement is None:
        why = "--alone" if args.alone else "it is not installed, or does not read this format"
        out.facts([("onnxruntime", f"not asked: {why}")])
    else:
        what = (
            f"on {agreement.rows} rows: {agreement.different_labels} labels differ, largest "
            f"difference {agreement.max_difference:.2g}"
        )
        out.verdict(
            agreement.same, f"{'the same' if agreement.same else 'different'} answers {what}"
        )
    if not latencies:
        return
    out.table(
        ("one row, one thread", "p50", "p90", "p99", "calls"),
        [
            (name, *map(duration, (one.p50, one.p90, one.p99)), f"{one.calls:,}")
            for name, one in latencies.items()
        ],
        right=(1, 2, 3, 4),
    )
    names = list(latencies)
    heads = ("threads", "rows a call", *(f"{name}, rows/s" for name in names))
    lines: list[tuple[object, ...]] = []
    for one in grid:
        rates = [one.rows_per_second[name] for name in names]
        ratio = (f"{rates[0] / rates[1]:.1f}",) if len(rates) > 1 else ()
        lines.append((one.threads, one.batch_size, *(f"{rate:,.0f}" for rate in rates), *ratio))
    ratios = ("times as many",) if len(names) > 1 else ()
    out.table(heads + ratios, lines, right=range(len(heads) + 1))
    if args.plot:
        out.console.print(f"  drawn: {args.plot}")
