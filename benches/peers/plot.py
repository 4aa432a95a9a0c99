"""The plot of a run: each peer's time divided by ours, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markdown import TITLES, ratios, to_onnxruntime
from table import Shape


def draw(results: dict[str, Any], path: Path) -> None:
    """Bars to onnxruntime and to the best peer, one line each, on a scale of logarithms."""
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text, and two plots of the same figures are the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers"})
    import matplotlib.pyplot as plt

    shown = [c for c in results["cells"] if not c["disagreement"] and c["threads"] == 1]
    if not shown:
        return
    labels = [
        f"{TITLES[c['case']]}, {Shape(c['form'], c['count']).label(c['case'])}" for c in shown
    ]
    onnx = [to_onnxruntime(ratios(c)) for c in shown]
    best = [min(ratios(c).values()) for c in shown]
    places = range(len(shown))
    figure, axes = plt.subplots(figsize=(8, 1 + 0.3 * len(shown)))
    axes.barh([p - 0.2 for p in places], onnx, 0.4, label="onnxruntime", color="#4c78a8")
    axes.barh([p + 0.2 for p in places], best, 0.4, label="the best peer", color="#f58518")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(list(places), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("peer's time / modelserve's time, one thread")
    axes.margins(y=0.01)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
