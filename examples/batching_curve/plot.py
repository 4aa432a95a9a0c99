"""Draws what `batching_curve` measured: throughput and p99 against offered load.

    python examples/batching_curve/plot.py build/batching.csv docs/batching.svg

Needs matplotlib.
"""

import csv
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

# As in main.rs.
QUIET = 0.1
STYLES = {
    "off": ("o-", "#b04020"),
    "batching": ("s-", "#2060b0"),
    "batching, 2 runs": ("v-", "#208060"),
    "batching, 1 ms": ("^--", "#70a0d0"),
}


def read(path: str) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Points by model and mode."""
    models: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            model, mode = row.pop("model"), row.pop("mode")
            models[model][mode].append({key: float(value) for key, value in row.items()})
    return models


def main(source: str, target: str) -> None:
    models = read(source)
    points = [p for modes in models.values() for points in modes.values() for p in points]
    busy = sum(p["others_cpus"] >= QUIET for p in points)
    if busy:
        print(
            f"{busy} of {len(points)} points were disturbed by other processes: not for publication"
        )
    # The same bytes each time.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "batching", "font.size": 9})
    figure, axes = plt.subplots(2, len(models), figsize=(4 * len(models), 6), squeeze=False)
    for column, (model, modes) in enumerate(models.items()):
        above, below = axes[0][column], axes[1][column]
        for mode, points in modes.items():
            style, colour = STYLES[mode]
            offered = [p["offered_rps"] for p in points]
            look = {"color": colour, "label": mode, "markersize": 3, "linewidth": 1}
            above.plot(offered, [p["achieved_rps"] for p in points], style, **look)
            below.plot(offered, [p["p99_us"] / 1000 for p in points], style, **look)
        offered = sorted({p["offered_rps"] for points in modes.values() for p in points})
        above.plot(offered, offered, ":", color="#888888", linewidth=1)
        above.set_title(model.replace("_", " "))
        above.set_ylabel("answered a second")
        below.set_yscale("log")
        below.set_ylabel("p99 (ms)")
        below.set_xlabel("offered a second")
        for axis in (above, below):
            axis.set_xscale("log")
            axis.grid(alpha=0.3)
        above.set_yscale("log")
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
