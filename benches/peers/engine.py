"""What an engine offers to the harness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from cases import SINGLE_ROWS, Case
from numpy.typing import NDArray

#: Rows of single calls that are compared: enough to see a wrong call, few enough for slow ones.
CHECKED_ROWS = 16
#: Decision of an isolation forest, or the probabilities of the classes, one line a row.
Answers = NDArray[np.float64]


class Refused(Exception):
    """The engine cannot do this, for the reason that it says."""


@dataclass(frozen=True)
class Prepared:
    """A call, and what to call it with, over and over."""

    call: Callable[[Any], object]
    items: list[Any]


class Engine:
    """One model loaded by one library, with its best documented settings."""

    #: As it stands in the table.
    name: ClassVar[str]
    #: Its settings in words, with `{threads}`.
    settings: ClassVar[str]
    #: Modules that are imported before a load is timed.
    libraries: ClassVar[tuple[str, ...]] = ()

    def __init__(self, case: Case, threads: int) -> None:
        """Loads the model; raises `Refused` where there is none for this library."""
        self.case = case
        self.threads = threads
        self.load()

    def load(self) -> None:
        """Reads the model's file and makes it ready; what the load time is the time of."""
        raise NotImplementedError

    def shape(self, rows: Any) -> Any:
        """The rows as the engine takes them fastest, made before anything is timed."""
        return rows

    def ask(self, rows: Any) -> Any:
        """The timed call for a batch."""
        raise NotImplementedError

    def ask_one(self, row: Any) -> Any:
        """The timed call for one row, which `shape` made of a batch of one."""
        return self.ask(row)

    def ask_list(self, row: list[float]) -> Any:
        """The timed call for one row that comes as a list."""
        return self.ask_one(self.shape(np.array([row], dtype=np.float32)))

    def answers(self, raw: Any, count: int) -> Answers:
        """What `ask` gave, in one form for all engines."""
        raise NotImplementedError

    def one_row(self, index: int) -> Any:
        """Row `index` as a batch of one."""
        rows = self.case.rows
        one = slice(index, index + 1)
        return rows.iloc[one] if self.case.kind.family == "frame" else rows[one]

    def prepare(self, form: str, count: int) -> Prepared:
        """The call of `form`: `list` or `row` for one row, or `batch` for `count` of them."""
        if form == "batch":
            return Prepared(self.ask, [self.shape(self.case.first(count))])
        if form == "list":
            rows = [self.case.rows[i].tolist() for i in range(SINGLE_ROWS)]
            return Prepared(self.ask_list, rows)
        return Prepared(self.ask_one, [self.shape(self.one_row(i)) for i in range(SINGLE_ROWS)])

    def checked(self, form: str, count: int) -> Answers:
        """The answers of the very calls that are timed."""
        prepared = self.prepare(form, count)
        if form == "batch":
            return self.answers(prepared.call(prepared.items[0]), count)
        items = prepared.items[:CHECKED_ROWS]
        return np.concatenate([self.answers(prepared.call(item), 1) for item in items])


def probabilities(raw: Any, count: int) -> Answers:
    """A matrix of probabilities; where only the second class's is given, the first is the rest."""
    values = np.asarray(raw, dtype=np.float64).reshape(count, -1)
    return np.hstack([1 - values, values]) if values.shape[1] == 1 else values
