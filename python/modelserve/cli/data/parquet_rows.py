"""Parquet files, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from ..output import CommandError, need
from .answers import shortest
from .rows import Batch


class ParquetRows:
    """Rows of a Parquet file."""

    def __init__(self, path: str) -> None:
        parquet = need("pyarrow.parquet", "cli", "reading Parquet")
        self.source, self.done = path, 0
        try:
            self._file = parquet.ParquetFile(path)
        except ValueError as error:
            # What pyarrow raises for a file that is none.
            raise CommandError(f"{path}: not sound Parquet: {error}") from None
        self.names: list[str] | None = list(self._file.schema_arrow.names)
        self.width = len(self._file.schema_arrow.names)
        self.total: int | None = self._file.metadata.num_rows

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows, at most `size` at once."""
        for part in self._file.iter_batches(batch_size=size):
            columns = [_column(part.column(k)) for k in range(part.num_columns)]
            yield Batch(columns, part.num_rows, self.done)
            self.done += part.num_rows
        if not self.done:
            empty = self._file.schema_arrow.empty_table()
            yield Batch([_column(column) for column in empty.columns], 0, 0)


def _column(column: Any) -> NDArray[Any] | list[Any]:
    """Numbers as an array where there is no null, anything else as Python's values.

    In Arrow's arrays a null among integers would make floats of them all, and be NaN.
    """
    import pyarrow.types as kinds

    kind = column.type
    if kinds.is_floating(kind) or kinds.is_integer(kind):
        if not column.null_count:
            array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
            return array
        if kinds.is_floating(kind):
            # As text has them: a float32 is the same number in each batch.
            numbers = shortest(column.to_numpy(zero_copy_only=False))
            gaps = column.is_null().to_pylist()
            return [None if gap else one for gap, one in zip(gaps, numbers, strict=True)]
    values: list[Any] = column.to_pylist()
    return values
