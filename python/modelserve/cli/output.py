"""What commands print: tables for people, JSON for programs, progress on terminals."""

from __future__ import annotations

import enum
import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class ExitCode(enum.IntEnum):
    """How a command ends."""

    #: Done, and the answer is yes.
    OK = 0
    #: Done, and the answer is no.
    NO = 1
    #: Not done: wrong usage, or something that cannot be read.
    UNUSABLE = 2
    #: Ended by Ctrl-C, as shells count it.
    INTERRUPTED = 130


class CommandError(Exception):
    """What keeps a command from being done, told in one line without a traceback."""


def need(package: str, extra: str, purpose: str) -> ModuleType:
    """Imports an optional package; `CommandError` names the extra that brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise CommandError(
            f"{purpose} needs {package.partition('.')[0]}, which is not installed: "
            f"pip install 'modelserve[{extra}]'"
        ) from error


def printable(text: object) -> str:
    """`text` without control characters: names in a model file must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text))


def plain(value: Any) -> Any:
    """`value` as strict JSON has it: NaN is null, infinities are text, NumPy's types Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if value is None or isinstance(value, str | int | bool):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


class Output:
    """Where a command prints to: answers to standard output, all else to standard error."""

    def __init__(self, *, json_wanted: bool) -> None:
        #: Whether programs read this: JSON on standard output, and nothing else.
        self.json = json_wanted
        self._console: Console | None = None

    def emit(self, answer: Mapping[str, Any]) -> None:
        """Prints one JSON object."""
        print(json.dumps(plain(answer), ensure_ascii=False, allow_nan=False))

    @property
    def console(self) -> Console:
        """Standard output for people: colours on terminals only, NO_COLOR is honoured."""
        if self._console is None:
            rich = need("rich.console", "cli", "output for people (not --json)")
            # Where nobody looks, nothing is cut to the width of a screen.
            width = None if sys.stdout.isatty() else 200
            self._console = rich.Console(highlight=False, markup=False, width=width)
        assert self._console is not None
        return self._console

    def title(self, text: str) -> None:
        """Prints a heading."""
        self.console.print(printable(text), style="bold")

    def facts(self, pairs: Sequence[tuple[str, object]]) -> None:
        """Prints named values below each other; None is left out."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            if value is not None:
                grid.add_row(f"  {name}", self.text(value))
        self.console.print(grid)

    def table(
        self, heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()
    ) -> None:
        """Prints a table; the columns numbered in `right` are aligned to the right."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, header_style="cyan")
        for k, head in enumerate(heads):
            table.add_column(printable(head), justify="right" if k in right else "left")
        for row in rows:
            table.add_row(*map(self.text, row))
        self.console.print(table)

    def text(self, value: object, style: str = "") -> Text:
        """`value` as text for `facts` and `table`, in a style of rich."""
        from rich.text import Text

        return value if isinstance(value, Text) else Text(printable(value), style=style)

    def verdict(self, good: bool, text: str) -> None:
        """Prints how it ended, in green or red."""
        mark, style = ("✓", "bold green") if good else ("✗", "bold red")
        self.console.print(f"{mark} {printable(text)}", style=style)

    def note(self, text: str) -> None:
        """Tells something beside the answer, on standard error."""
        print(f"modelserve: {printable(text)}", file=sys.stderr)

    @contextmanager
    def progress(
        self, what: str, total: float | None, *, amid: bool = False
    ) -> Iterator[Callable[[float], None]]:
        """A progress bar on standard error where that is a terminal; takes how far it is.

        `amid`: answers are printed meanwhile, which a bar on the same terminal would disturb.
        """
        if self.json or not sys.stderr.isatty() or (amid and sys.stdout.isatty()):
            yield lambda _: None
            return
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            yield lambda _: None
            return
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def duration(seconds: float) -> str:
    """A time for people, with three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}" if seconds < 1000 else f"{seconds:,.0f} s"
    return f"{seconds * 1e9:.3g} ns"


def counted(count: int, what: str) -> str:
    """`count` of something, in the plural where it is not one."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
