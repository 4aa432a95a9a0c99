"""What a manager tells of its models: states, events, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Report(dict[str, Any]):
    """Figures by name. It prints itself for people."""

    def __init__(self, figures: Mapping[str, Any], printed: str | None = None) -> None:
        """The figures, and how they are printed: one a line by default."""
        super().__init__(figures)
        self._printed = printed

    def __str__(self) -> str:
        """For people."""
        if self._printed is not None:
            return self._printed
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:{width}}  {value}" for name, value in self.items())


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What each feature adds to the margins of some rows.

    A margin is what the trees add up to, before the objective's link: a log-odds for a logistic
    objective. ``base`` and the values of a row together are the row's margin.
    """

    #: float64 ``[rows, features]``; ``[rows, targets, features]`` for several classes or targets.
    values: NDArray[np.float64]
    #: The margin where nothing is known of a row; an array ``[targets]`` for several.
    base: float | NDArray[np.float64]
    #: The features' names; None where the file has none.
    feature_names: list[str] | None


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """Where a version is in its life."""

    #: The version's number.
    version: int
    #: START, LOADING, AVAILABLE, UNLOADING or END.
    state: str
    #: The kind of error that ended it; None without one.
    error: str | None
    #: That error's message; empty without one.
    message: str
    #: When it came into this state.
    since: datetime
    #: Whether it answers requests that name no version.
    serving: bool
    #: The labels that point to it.
    labels: list[str]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a model."""

    #: When it happened.
    at: datetime
    #: The model.
    model: str
    #: The version.
    version: int
    #: state, serving, label, rejected, traffic, circuit or evicted.
    kind: str
    #: Of `state`: START to END; of `circuit`: closed, open or half_open.
    state: str | None = None
    #: Of `circuit`: numbers the changes of this version's circuit from 1 on; two events may come in
    #: either order. Begins anew when policies are set.
    sequence: int | None = None
    #: Of `state`: the kind of error that ended the version.
    error: str | None = None
    #: The error's message, or the figures of a decision.
    message: str = ""
    #: Of `serving`: the version that answered until now.
    previous: int | None = None
    #: Of `label`: the label that points to this version now.
    label: str | None = None
    #: Of `traffic`: what was decided about the canary: advance, promote, roll back or stop.
    verdict: str | None = None

    def __str__(self) -> str:
        """For people."""
        what = self.state or self.label or self.verdict or ""
        told = " ".join(filter(None, (self.kind, what)))
        told = f"model '{self.model}' version {self.version}: {told}"
        return f"{told}: {self.message}" if self.message else told


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes that one version holds."""

    #: The model.
    model: str
    #: The version.
    version: int
    #: Weights and other constants.
    weights: int
    #: What was made of them for speed.
    packed: int
    #: Work space kept between runs.
    scratch: int


@dataclass(frozen=True, kw_only=True)
class WorstRow:
    """The replayed row on which two versions differ most."""

    #: Its number in the request.
    row: int
    #: The request's inputs: an array, a list of arrays, or a dict by name.
    request: Any
    #: What the serving version answered: Prediction, Predictions or outputs by name.
    serving: Any
    #: What the candidate answered.
    candidate: Any


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What a gate found. It prints itself for people."""

    #: Whether the candidate was let in.
    accepted: bool
    #: The candidate's version.
    version: int
    #: The version it was compared with.
    serving: int | None
    #: Golden requests asked.
    golden: int
    #: Golden requests answered wrongly, or not at all.
    golden_failed: int
    #: Recent requests replayed.
    replayed: int
    #: Requests that the serving version answered and the candidate did not.
    failed: int
    #: Rows compared.
    rows: int
    #: Rows answered differently.
    disagreed: int
    #: The largest relative difference of a number.
    max_drift: float
    #: The candidate's median time over the serving version's; None where nothing was replayed.
    latency_ratio: float | None
    #: Median time of a request on the serving version, in milliseconds.
    p50_serving_ms: float
    #: Median time of a request on the candidate, in milliseconds.
    p50_candidate_ms: float
    #: What speaks against the candidate; empty when it is accepted.
    reasons: list[str]
    #: The row of the largest difference.
    worst: WorstRow | None
    #: The report for people: what `str` gives.
    printed: str = field(repr=False)

    def __str__(self) -> str:
        """For people."""
        return self.printed
