"""The measurements as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from ..output import CommandError, need
from .timing import Latency, Throughput


def draw(path: str, title: str, latencies: dict[str, Latency], found: Sequence[Throughput]) -> None:
    """Writes a picture (.svg, .png, .pdf): percentiles of latency, and rows a second."""
    matplotlib = need("matplotlib", "cli", "--plot")
    # No window system is asked for.
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    percentiles = ("p50", "p90", "p99")
    width = 0.8 / max(len(latencies), 1)
    for k, (name, one) in enumerate(latencies.items()):
        heights = [getattr(one, p) * 1e6 for p in percentiles]
        places = [x + k * width for x in range(3)]
        bars = left.bar(places, heights, width, label=name)
        left.bar_label(bars, fmt="%.3g", fontsize=8)
    left.set_xticks([x + width * (len(latencies) - 1) / 2 for x in range(3)], percentiles)
    left.set_ylabel("µs")
    left.set_title("Latency of one row, one thread")
    left.legend(frameon=False)
    styles = ("-", "--", ":", "-.")
    counts = sorted({one.threads for one in found})
    for k, name in enumerate(latencies):
        for threads in counts:
            points = [one for one in found if one.threads == threads]
            right.plot(
                [one.batch_size for one in points],
                [one.rows_per_second[name] for one in points],
                styles[counts.index(threads) % len(styles)],
                marker="o",
                color=f"C{k}",
                label=f"{name}, {threads} thread{'s' if threads > 1 else ''}",
            )
    right.set_xscale("log", base=2)
    sizes = sorted({one.batch_size for one in found})
    right.set_xticks(sizes, [f"{size:,}" for size in sizes])
    right.set_yscale("log")
    right.set_xlabel("rows of a call")
    right.set_ylabel("rows a second")
    right.set_title("Throughput")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    try:
        figure.savefig(path)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from None
    finally:
        pyplot.close(figure)
