"""The table of a run as Markdown, the aim beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from cases import KINDS
from registry import MANAGED, ONNXRUNTIME, OURS, peers
from table import (
    CALLERS_LONG,
    CALLERS_NATIVE,
    CALLERS_ONNXRUNTIME,
    CALLERS_SHORT,
    LINES,
    LOAD_RATIO,
    LONG_US,
    MEMORY_RATIO,
    NATIVE_AIMS,
    Shape,
)

TITLES = {kind.key: kind.title for kind in KINDS}
Results = dict[str, Any]


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(met: list[bool]) -> str:
    """Whether every aim of a line is met."""
    return "met" if all(met) else "**short**"


def ratios(cell: dict[str, Any]) -> dict[str, float]:
    """Each peer's median divided by ours."""
    engines = cell["engines"]
    ours = engines[OURS]["median_us"]
    return {name: engines[name]["median_us"] / ours for name in peers(list(engines))}


def to_onnxruntime(found: dict[str, float]) -> float:
    """The ratio to the faster way of asking onnxruntime."""
    return min((found[name] for name in ONNXRUNTIME if name in found), default=float("nan"))


def head(results: Results, raw: str) -> Iterator[str]:
    """The machine, the versions, the settings."""
    about = results["meta"]
    yield (
        f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}; "
        f"commit {about['commit']}, {about['date']} UTC, seed {about['seed']}, "
        f"{about['rounds']} rounds, garbage collector off. Raw figures: "
        f"`benches/peers/results/{raw}`."
    )
    yield ""
    yield "Versions: " + ", ".join(f"{name} {v}" for name, v in about["versions"].items()) + "."
    yield ""
    yield "| engine | settings |"
    yield "|---|---|"
    for name, settings in about["settings"].items():
        yield f"| {name} | {settings.replace('{threads}', '1 or all')} |"
    yield ""
    yield "| model | sizes of this seed | our file | engines left out |"
    yield "|---|---|---|---|"
    for key, facts in results["models"].items():
        sizes = ", ".join(f"{k} {v:,}" for k, v in facts.items() if k != "trained in s")
        skipped = results["refused"].get(key, {})
        told = [f"{n}: {why}" for n, why in skipped.items() if "another library" not in why]
        told = [text for text in told if " only" not in text]
        source = results["sources"].get(key, "")
        yield f"| {TITLES[key]} | {sizes} | {source} | {'; '.join(told)} |"
    yield ""


def identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    """By which two runs' figures of one line are found."""
    return tuple(cell[name] for name in ("line", "case", "form", "count", "threads"))


def both(now: float, before: float | None) -> str:
    """A ratio, and that of the other run that is kept."""
    return f"{now:.2f}" if before is None else f"{now:.2f} ({before:.2f})"


def cells(results: Results, other: Results | None) -> Iterator[str]:
    """The lines that were timed from Python."""
    kept = {identity(cell): cell for cell in (other or {"cells": []})["cells"]}
    if other:
        about = other["meta"]
        yield (
            f"In brackets behind a ratio: the run of {about['date']} UTC, commit "
            f"{about['commit']}, seed {about['seed']}."
        )
        yield ""
    yield (
        "| line | model | rows | threads | modelserve, µs (p99) | onnxruntime, µs (p99) "
        "| ratio | best peer, µs | ratio | aim | |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---|---:|---|---|"
    for cell in results["cells"]:
        line = next(line for line in LINES if line.key == cell["line"])
        shape = Shape(cell["form"], cell["count"]).label(cell["case"])
        begin = f"| {line.title} | {TITLES[cell['case']]} | {shape} | {cell['threads']} |"
        if cell["disagreement"]:
            yield f"{begin} | | | | | {line.aim} | **engines disagree** |"
            continue
        engines, found = cell["engines"], ratios(cell)
        ours = engines[OURS]
        near = min(
            (name for name in ONNXRUNTIME if name in engines),
            key=lambda name: float(engines[name]["median_us"]),
        )
        best = min(found, key=lambda name: found[name])
        theirs = engines[near]
        before = kept.get(identity(cell))
        earlier = ratios(before) if before and not before["disagreement"] else {}
        earlier_near = to_onnxruntime(earlier) if earlier else None
        earlier_best = min(earlier.values(), default=None)
        yield (
            f"{begin} {number(ours['median_us'])} ({number(ours['p99_us'])}) "
            f"| {number(theirs['median_us'])} ({number(theirs['p99_us'])}) "
            f"| {both(found[near], earlier_near)} "
            f"| {best}, {number(engines[best]['median_us'])} "
            f"| {both(found[best], earlier_best)} "
            f"| {line.aim} | {verdict(aims_met(cell))} |"
        )


def aims_met(cell: dict[str, Any]) -> list[bool]:
    """Which aims of its line a cell meets."""
    line = next(line for line in LINES if line.key == cell["line"])
    found = ratios(cell)
    met = []
    if line.onnxruntime is not None:
        met.append(to_onnxruntime(found) >= line.onnxruntime)
    if line.best is not None:
        met.append(min(found.values()) >= line.best)
    if line.sklearn is not None:
        met.append(found["scikit-learn"] >= line.sklearn)
    return met


def managed(results: Results) -> Iterator[str]:
    """What a manager's handle adds."""
    shown = [cell for cell in results["cells"] if MANAGED in cell["engines"]]
    if not shown:
        return
    yield ""
    parts = [
        f"{TITLES[cell['case']]} {number(cell['engines'][MANAGED]['median_us'])} µs "
        f"({number(cell['engines'][OURS]['median_us'])} without)"
        for cell in shown
        if cell["threads"] == 1
    ]
    yield "One row through a manager's handle, one thread: " + ", ".join(parts) + "."


def natives(results: Results) -> Iterator[str]:
    """Rust and C beside onnxruntime's C interface."""
    yield ""
    yield "From Rust and C, one row, beside onnxruntime's C interface:"
    yield ""
    if not results["native"]:
        yield "not measured in this run."
        return
    yield (
        "| from | model | modelserve, ns (p99) | onnxruntime, ns (p99) | ratio | aim "
        "| 8 callers / 1 | to onnxruntime's 8 | aim | |"
    )
    yield "|---|---|---:|---:|---:|---|---:|---:|---|---|"
    for one in results["native"]:
        begin = f"| {one['language']} | {TITLES[one['case']]} |"
        least, most = NATIVE_AIMS[one["case"]]
        aim = f"≥ {least:g}" + (f", < {most:g} ns" if most else "")
        callers_aim = f"≥ {CALLERS_NATIVE:g} (2 cores), ≥ {CALLERS_ONNXRUNTIME:g}"
        if "error" in one:
            yield f"{begin} | | | {aim} | | | {callers_aim} | **failed** |"
            continue
        ours, theirs = (statistics.median(one["row_ns"][n]) for n in ("modelserve", "onnxruntime"))
        rate = {
            name: {n: statistics.median(rounds) for n, rounds in counts.items()}
            for name, counts in one["rate"].items()
        }
        scale = rate["modelserve"]["8"] / rate["modelserve"]["1"]
        beside = rate["modelserve"]["8"] / rate["onnxruntime"]["8"]
        met = [theirs / ours >= least, most is None or ours < most]
        met += [scale >= CALLERS_NATIVE, beside >= CALLERS_ONNXRUNTIME]
        yield (
            f"{begin} {number(ours)} ({number(one['p99_ns']['modelserve'])}) "
            f"| {number(theirs)} ({number(one['p99_ns']['onnxruntime'])}) | {theirs / ours:.2f} "
            f"| {aim} | {scale:.2f} | {beside:.2f} | {callers_aim} | {verdict(met)} |"
        )


def callers(results: Results) -> Iterator[str]:
    """Eight Python threads on one model."""
    yield ""
    yield "8 Python threads on one model, calls a second (1 thread, 8 threads):"
    yield ""
    yield "| model | rows | modelserve | 8 / 1 | onnxruntime | ours / theirs, 8 | aim | |"
    yield "|---|---:|---:|---:|---:|---:|---|---|"
    for one in results["callers"]:
        ours, theirs = one[OURS], one[ONNXRUNTIME[0]]
        scale, beside = ours["eight"] / ours["one"], ours["eight"] / theirs["eight"]
        least = CALLERS_LONG if 1e6 / ours["one"] >= LONG_US else CALLERS_SHORT
        met = [scale >= least, beside >= CALLERS_ONNXRUNTIME]
        begin = f"| {TITLES[one['case']]} | {one['count']:,} |"
        yield (
            f"{begin} {ours['one']:,.0f}, {ours['eight']:,.0f} "
            f"| {scale:.2f} | {theirs['one']:,.0f}, {theirs['eight']:,.0f} | {beside:.2f} "
            f"| 8 / 1 ≥ {least:g}, ≥ {CALLERS_ONNXRUNTIME:g} onnxruntime | {verdict(met)} |"
        )


def memories(results: Results) -> Iterator[str]:
    """Load time and memory, each in fresh processes."""
    yield ""
    yield "Load time, memory of one more model, and peak while loading and answering 1,024 rows:"
    yield ""
    yield "| model | engine | load, ms | memory a model, MB | peak, MB | aim | |"
    yield "|---|---|---:|---:|---:|---|---|"
    base = {
        one["case"]: one
        for one in results["memory"]
        if one["engine"] == ONNXRUNTIME[0] and "error" not in one
    }
    for one in results["memory"]:
        begin = f"| {TITLES[one['case']]} | {one['engine']} |"
        if "error" in one:
            yield f"{begin} | | | | {one['error']} |"
            continue
        aim, said = "", ""
        if one["engine"] == OURS and one["case"] in base:
            other = base[one["case"]]
            load = other["load_ms"] / one["load_ms"]
            # Below a page's noise there is nothing to divide by.
            held = one["bytes_each"] / max(other["bytes_each"], 4096)
            aim = f"load ≥ {LOAD_RATIO:g}: {load:.2f}; memory ≤ {MEMORY_RATIO:g}: {held:.2f}"
            said = verdict([load >= LOAD_RATIO, held <= MEMORY_RATIO])
        yield (
            f"{begin} {number(one['load_ms'])} | {one['bytes_each'] / 1e6:.3f} "
            f"| {one['peak_bytes'] / 1e6:.1f} | {aim} | {said} |"
        )


def shortfalls(results: Results, reasons: dict[str, str]) -> Iterator[str]:
    """Why lines fall short, from reasons.json: by `line/model`, or by `line` for all of it."""
    short = dict.fromkeys(
        f"{cell['line']}/{cell['case']}"
        for cell in results["cells"]
        if not cell["disagreement"] and not all(aims_met(cell))
    )
    if not short:
        return
    yield ""
    yield "Lines that fall short:"
    yield ""
    for key in short:
        line_key, _, case = key.partition("/")
        why = reasons.get(key) or reasons.get(line_key) or "not looked into yet"
        title = next(line.title for line in LINES if line.key == line_key)
        yield f"- {title}, {TITLES[case]}: {why}"


def whole(key: str, title: str, reasons: dict[str, str]) -> list[str]:
    """Why lines of a table that is no part of the cells fall short, where that is known."""
    return ["", f"Where {title} fall short: {reasons[key]}."] if key in reasons else []


def document(results: Results, reasons: dict[str, str], raw: str, other: Results | None) -> str:
    """The whole section; `other` is an earlier run to stand beside this one."""
    lines = [*head(results, raw), *cells(results, other), *managed(results), *natives(results)]
    if results["native"]:
        lines += whole("native", "calls from Rust and C", reasons)
    if results["callers"]:
        lines += callers(results)
        lines += whole("callers", "eight callers", reasons)
    if results["memory"]:
        lines += memories(results)
        lines += whole("memory", "load time and memory", reasons)
    lines += shortfalls(results, reasons)
    if len(results["cells"]) > 0:
        lines += ["", "![Peers' times divided by ours](images/peers.svg)"]
    return "\n".join(lines) + "\n"
