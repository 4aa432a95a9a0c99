"""Measuring models: what `modelserve bench` is made of."""

from .agreement import Agreement, compare
from .plot import draw
from .runners import Runner, runners
from .timing import Latency, Throughput, latency, throughput

__all__ = [
    "Agreement",
    "Latency",
    "Runner",
    "Throughput",
    "compare",
    "draw",
    "latency",
    "runners",
    "throughput",
]
