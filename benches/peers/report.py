"""Writes a run: raw figures as JSON, the table as Markdown, the plot."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import markdown
import plot
from registry import ENGINES

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
PACKAGES = (
    "onnxruntime",
    "scikit-learn",
    "xgboost-cpu",
    "lightgbm",
    "treelite",
    "tl2cgen",
    "lleaves",
    "numpy",
    "skl2onnx",
    "onnxmltools",
)


def cpu_name() -> str:
    """The CPU as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit(root: Path) -> str:
    """The short commit of the checkout, with a mark where files were changed since."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7"]
    run = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def gcc() -> str:
    """The version of the compiler that tl2cgen asks."""
    try:
        run = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True)
    except OSError:
        return "not installed"
    return run.stdout.strip()


def meta(
    root: Path, options: argparse.Namespace, rounds: int, samples: int, cores: int
) -> dict[str, Any]:
    """The machine, the versions and the settings."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(root),
        "seed": options.seed,
        "rounds": rounds,
        "training rows": samples,
        "quick": options.quick,
        "cpu": cpu_name(),
        "cores": cores,
        "load average at the end": os.getloadavg(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "gc": "off while timing",
        "versions": {**{package: version(package) for package in PACKAGES}, "gcc": gcc()},
        "settings": {name: engine.settings for name, engine in ENGINES.items()},
    }


def callers_in_words(rates: dict[str, dict[str, Any]]) -> str:
    """One line for the terminal."""
    parts = [f"{name} {one['one']:,.0f} and {one['eight']:,.0f}/s" for name, one in rates.items()]
    return "; ".join(parts)


def write(root: Path, results: dict[str, Any], full: bool) -> None:
    """Raw figures always; the document and its plot from a full run only."""
    about = results["meta"]
    folder = root / ("benches/peers/results" if full else "build/peers/results")
    folder.mkdir(parents=True, exist_ok=True)
    day = about["date"].partition(" ")[0]
    path = free_name(folder, f"{day}-{about['commit']}-seed{about['seed']}")
    other = newest(folder, about["cores"]) if full else None
    path.write_text(json.dumps(results, indent=1) + "\n")
    reasons = json.loads((root / "benches/peers/reasons.json").read_text())
    text = markdown.document(results, reasons, path.name, other)
    print(text)
    print(f"raw figures: {path.relative_to(root)}")
    picture = root / ("docs/images/peers.svg" if full else "build/peers/peers.svg")
    plot.draw(results, picture)
    if full:
        between_markers(root / "docs/performance.md", text)


def free_name(folder: Path, stem: str) -> Path:
    """A name that no earlier run of the day has."""
    path, number = folder / f"{stem}.json", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.json", number + 1
    return path


def newest(folder: Path, cores: int) -> dict[str, Any] | None:
    """The last run that is kept of a machine with as many cores, to stand beside this one."""
    kept: list[dict[str, Any]] = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    kept = [run for run in kept if run["meta"]["cores"] == cores]
    return max(kept, key=lambda run: str(run["meta"]["date"]), default=None)


def between_markers(document: Path, text: str) -> None:
    """Replaces what stands between the markers."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")
