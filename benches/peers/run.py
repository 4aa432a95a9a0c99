"""The benchmark against peers: `make bench-peers`.

    python benches/peers/run.py [--quick] [--seed 1] [--lines logistic,forest100,callers]
                                [--rounds 30] [--threads 1,all] [--native FOLDER]

Every line first checks that all engines agree, then times them in turns in this one process with
the garbage collector off. A full run writes its raw figures into benches/peers/results, and its
table and plot into docs; one that is `--quick` or of some `--lines` only writes into build/peers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agree
import memory
import models
import native
import report
import threads
import timing
from cases import KINDS, Case, Kind
from engine import Engine, Prepared, Refused
from registry import ENGINES, FAST, MANAGED, ONNXRUNTIME, OURS
from table import LINES, Line, Shape
from threadpoolctl import threadpool_limits
from tree_engines import Tl2cgen

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "peers"
SAMPLES, QUICK_SAMPLES = 20_000, 4_000
#: Rows of which the answers are compared.
AGREE_ROWS = 2048
PARTS = ("callers", "memory", "native")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def tell(text: str) -> None:
    """Progress, which is no part of the result."""
    print(text, file=sys.stderr, flush=True)


class Run:
    """One run: its options, its models, and what was measured so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rounds: int = options.rounds or (5 if options.quick else 30)
        self.samples = QUICK_SAMPLES if options.quick else SAMPLES
        wanted = options.lines.split(",") if options.lines else []
        known = {kind.key for kind in KINDS} | set(PARTS)
        if unknown := set(wanted) - known:
            sys.exit(f"no such line: {', '.join(sorted(unknown))}; there are {sorted(known)}")
        self.parts = [part for part in PARTS if not wanted or part in wanted]
        self.kinds = [kind for kind in KINDS if not wanted or kind.key in wanted]
        counts = {"all": cores()}
        given = [counts.get(text) or int(text) for text in options.threads.split(",")]
        # On a machine of one core both settings are one.
        self.threads = list(dict.fromkeys(given))
        self.cells: list[dict[str, Any]] = []
        self.refused: dict[str, dict[str, str]] = {}
        self.cases: dict[str, Case] = {}

    def case(self, kind: Kind) -> Case:
        """The model of this line, trained when it is first asked for."""
        if kind.key not in self.cases:
            tell(f"{kind.title}: model")
            self.cases[kind.key] = models.train(kind, self.options.seed, self.samples, CACHE)
        return self.cases[kind.key]

    def engines(self, case: Case, threads: int) -> list[Engine]:
        """Every engine that takes the model; why the others do not is kept."""
        made = []
        for name, engine in ENGINES.items():
            try:
                made.append(engine(case, threads))
            except Refused as why:
                self.refused.setdefault(case.kind.key, {})[name] = str(why)
        return made

    def cell(
        self, line: Line, case: Case, shape: Shape, engines: list[Engine], threads: int
    ) -> None:
        """Compares, then times, one line of the table with one number of threads."""
        label = f"{case.kind.title}, {shape.label(case.kind.key)} rows, {threads} threads"
        result: dict[str, Any] = {
            "line": line.key,
            "case": case.kind.key,
            "form": shape.form,
            "count": shape.count,
            "threads": threads,
            "engines": {},
            "disagreement": None,
        }
        self.cells.append(result)
        able, calls = [], dict[str, Prepared]()
        for engine in engines:
            if engine.name == MANAGED and shape.form != "row":
                continue
            try:
                calls[engine.name] = engine.prepare(shape.form, shape.count)
                able.append(engine)
            except Refused:
                pass  # single rows only, or batches only
        result["disagreement"] = agree.check(able, shape.form, min(shape.count, AGREE_ROWS))
        if result["disagreement"]:
            print(f"FAIL {label}: {result['disagreement']}", flush=True)
            return
        measured = timing.measure(calls, self.rounds, settle=threads > 1)
        result["engines"] = {name: one.raw() for name, one in measured.items()}
        ours = measured[OURS].median
        others = {name: one.median for name, one in measured.items() if name not in (OURS, MANAGED)}
        best = min(others, key=lambda name: others[name])
        theirs = min(others[name] for name in ONNXRUNTIME if name in others)
        print(
            f"{label}: {ours:,.2f} µs; onnxruntime {theirs / ours:.2f}, "
            f"best ({best}) {others[best] / ours:.2f}",
            flush=True,
        )

    def measure_cells(self) -> None:
        """All lines that are timed in this process."""
        for kind in self.kinds:
            case = self.case(kind)
            lines = [line for line in LINES if kind.key in line.kinds]
            for threads_now in self.threads:
                with limited(threads_now):
                    engines = self.engines(case, threads_now)
                    for line in lines:
                        for shape in line.shapes:
                            if self.options.quick and shape.count > 1024:
                                continue
                            self.cell(line, case, shape, engines, threads_now)

    def measure_callers(self) -> list[dict[str, Any]]:
        """Eight threads on one model."""
        found = []
        for work in threads.WORKS:
            kind = next(kind for kind in KINDS if kind.key == work.key)
            if self.kinds and kind not in self.kinds:
                continue
            case = self.case(kind)
            engines = [ENGINES[name](case, 1) for name in (OURS, ONNXRUNTIME[0])]
            with limited(1):
                rates = threads.measure(engines, work, max(3, self.rounds // 3))
            tell(f"{kind.title}, callers: " + report.callers_in_words(rates))
            found.append({"case": kind.key, "form": work.form, "count": work.count, **rates})
        return found

    def measure_memory(self) -> list[dict[str, Any]]:
        """Load time and memory, in fresh processes."""
        found = []
        for kind in self.kinds or KINDS:
            case = self.case(kind)
            for name, engine in ENGINES.items():
                if name in (MANAGED, ONNXRUNTIME[1], FAST):
                    continue
                # Each needs a process of its own, which a quick run has no time for.
                if self.options.quick and name not in (OURS, ONNXRUNTIME[0]):
                    continue
                try:
                    engine(case, 1)
                except Refused:
                    continue
                figures = memory.measure(engine, case, 1 if self.options.quick else 5)
                found.append({"case": kind.key, "engine": name, **figures})
            tell(f"{kind.title}: memory and load time")
        return found

    def measure(self) -> dict[str, Any]:
        """Everything that was asked for."""
        self.measure_cells()
        callers = self.measure_callers() if "callers" in self.parts else []
        memories = self.measure_memory() if "memory" in self.parts else []
        natives: list[dict[str, Any]] = []
        if "native" in self.parts and self.options.native:
            cases = [self.case(kind) for kind in KINDS if kind.key in native.KEYS]
            natives = native.measure(self.options.native, cases, self.rounds)
        return {
            "meta": report.meta(ROOT, self.options, self.rounds, self.samples, cores()),
            "models": {key: case.facts for key, case in self.cases.items()},
            "sources": self.sources(),
            "refused": self.refused,
            "cells": self.cells,
            "callers": callers,
            "memory": memories,
            "native": natives,
        }

    def sources(self) -> dict[str, str]:
        """Of which file our model was made, by case."""
        from engines import open_ours

        return {key: open_ours(case, 1)[1] for key, case in self.cases.items()}


@contextlib.contextmanager
def limited(threads_now: int) -> Iterator[None]:
    """Keeps the thread pools of BLAS and OpenMP to a number."""
    with threadpool_limits(threads_now):
        yield


def main() -> None:
    """Parses the arguments and runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds of small models: a try")
    parser.add_argument("--seed", type=int, default=1, help="draws the widths and depths")
    parser.add_argument("--lines", help="only these models and parts, by key, with commas")
    parser.add_argument("--rounds", type=int, help="30 by default, 5 with --quick")
    parser.add_argument("--threads", default="1,all", help="1 and all cores by default")
    parser.add_argument("--native", type=Path, help="the folder of the programs without Python")
    options = parser.parse_args()
    # Peers warn of names and versions; what matters here is compared.
    warnings.filterwarnings("ignore")
    if options.quick:
        Tl2cgen.patience = 0
    run = Run(options)
    results = run.measure()
    full = not options.quick and not options.lines
    report.write(ROOT, results, full)
    if any(cell["disagreement"] for cell in run.cells):
        sys.exit("some engines disagree: see the lines that begin with FAIL")


if __name__ == "__main__":
    main()
