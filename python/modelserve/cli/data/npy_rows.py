"""NumPy files, mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..output import CommandError
from .rows import Batch


class NpyRows:
    """Rows of an array of two dimensions in a `.npy` file."""

    def __init__(self, path: str) -> None:
        self.source, self.done = path, 0
        self.names: list[str] | None = None
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise CommandError(f"{path}: not a sound NumPy file: {error}") from None
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            shape = getattr(array, "shape", "an archive")
            raise CommandError(f"{path}: expected an array of shape (rows, columns), got {shape}")
        self._array = array
        self.width = array.shape[1]
        self.total: int | None = len(array)

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, at most `size` at once."""
        for first in range(0, len(self._array) or 1, size):
            part = np.asarray(self._array[first : first + size])
            yield Batch(list(part.T), len(part), first)
            self.done = first + len(part)
