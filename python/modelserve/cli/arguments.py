"""Arguments that several commands take, checked while they are read."""

from __future__ import annotations

import argparse

#: More threads than this are a slip of the keyboard.
_MOST_THREADS = 4096


def tolerance(text: str) -> float:
    """How far numbers may be off: 0 or more. NaN is refused: nothing would be beyond it."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return number


def thread_count(text: str) -> int:
    """A number of threads; 0 is the CPU quota."""
    number = int(text)
    if not 0 <= number <= _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected 0 to {_MOST_THREADS}, got {text}")
    return number
