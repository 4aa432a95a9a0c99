"""The lines of the table: what is measured of which model, and the aim of each."""

from __future__ import annotations

from dataclasses import dataclass

LINEAR = ("logistic", "scaled")
NETWORKS = (*LINEAR, "mlp")
TREES = ("forest100", "forest500", "xgboost", "lightgbm", "isolation")
PIPELINES = ("frame", "text")
BATCHES = (32, 1024, 10_000)


@dataclass(frozen=True)
class Shape:
    """How rows come: `list` or `row` for one, `batch` for `count`."""

    form: str
    count: int = 1

    def label(self, kind: str) -> str:
        """How many rows, and as what one row comes; that of a pipeline is a dict or a text."""
        if kind in PIPELINES and self.form == "row":
            return "1"
        names = {"list": "1, list", "row": "1, NumPy"}
        return names.get(self.form, f"{self.count:,}")


@dataclass(frozen=True)
class Line:
    """A line of the table; a ratio is the peer's time divided by ours."""

    key: str
    title: str
    kinds: tuple[str, ...]
    shapes: tuple[Shape, ...]
    #: The least ratio to onnxruntime, to the best of all peers, and to scikit-learn.
    onnxruntime: float | None = None
    best: float | None = None
    sklearn: float | None = None

    @property
    def aim(self) -> str:
        """The aim in words."""
        parts = [
            f"≥ {value:g} {name}"
            for value, name in (
                (self.onnxruntime, "onnxruntime"),
                (self.best, "best"),
                (self.sklearn, "scikit-learn"),
            )
            if value is not None
        ]
        return ", ".join(parts)


ONE = (Shape("list"), Shape("row"))
MANY = tuple(Shape("batch", count) for count in BATCHES)

LINES = (
    Line("row-linear", "one row", NETWORKS, ONE, onnxruntime=5, sklearn=50),
    Line("row-trees", "one row", TREES, ONE, onnxruntime=6, best=3),
    Line("batch-trees", "batch", TREES, MANY, onnxruntime=8, best=4),
    Line("batch-linear", "batch", NETWORKS, MANY, best=1.5),
    Line("pipelines", "whole pipeline", PIPELINES, (Shape("row"), *MANY[1:]), best=4),
)

#: The least ratio to onnxruntime's C interface from C and Rust, and the most ns a call.
NATIVE_AIMS: dict[str, tuple[float, float | None]] = {
    "logistic": (10, 300),
    "scaled": (10, 300),
    "mlp": (7, None),
    "forest100": (6, None),
}
#: Eight callers: ours to onnxruntime's; ours to one caller from C and Rust (on two cores), from
#: Python for calls of `LONG_US` and more, and for shorter ones.
CALLERS_ONNXRUNTIME, CALLERS_NATIVE, CALLERS_LONG, CALLERS_SHORT = 5.0, 1.9, 1.9, 0.9
LONG_US = 50.0
#: Load time: onnxruntime's to ours; memory a model: ours to onnxruntime's.
LOAD_RATIO, MEMORY_RATIO = 3.0, 0.5
