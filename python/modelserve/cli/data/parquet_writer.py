"""Answers written as Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from numpy.typing import NDArray

from ..output import CommandError, need


class ParquetWriter:
    """A row group a batch.

    The first batch says what type a column has. While a column has shown nothing but nulls, its
    type is not known, and the batches wait in memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._arrow = need("pyarrow", "cli", "writing Parquet")
        self._parquet = need("pyarrow.parquet", "cli", "writing Parquet")
        self._file = file
        self._writer: Any = None
        self._schema: Any = None
        self._waiting: list[Any] = []

    def write(self, table: Mapping[str, NDArray[Any]]) -> None:
        """Writes some rows; `CommandError` for values that are not of one type."""
        part = self._arrow.table({name: self._column(name, c) for name, c in table.items()})
        if self._writer is None:
            fields = [*self._schema] if self._schema else [*part.schema]
            for k, field in enumerate(fields):
                if self._arrow.types.is_null(field.type):
                    fields[k] = part.schema.field(k)
            self._schema = self._arrow.schema(fields)
            self._waiting.append(self._fitted(part))
            if not any(self._arrow.types.is_null(field.type) for field in fields):
                self._begin()
            return
        self._writer.write_table(self._fitted(part))

    def close(self) -> None:
        """Writes what is left, and the footer."""
        if self._writer is None and self._schema is not None:
            self._begin()
        if self._writer is not None:
            self._writer.close()

    def abandon(self) -> None:
        """Ends without what is left: Arrow would try it later, when the file is closed."""
        if self._writer is not None:
            self._writer.close()

    def _begin(self) -> None:
        self._writer = self._parquet.ParquetWriter(self._file, self._schema)
        for part in self._waiting:
            self._writer.write_table(self._fitted(part))
        self._waiting = []

    def _column(self, name: str, column: NDArray[Any]) -> Any:
        try:
            return self._arrow.array(column.tolist() if column.dtype == object else column)
        except (ValueError, TypeError, OverflowError) as error:
            # Arrow's own errors are the first two.
            raise _unfit(name, error) from None

    def _fitted(self, part: Any) -> Any:
        """`part` with the types of the schema."""
        columns = []
        for field, column in zip(self._schema, part.columns, strict=True):
            was = f"{field.type} first, {column.type} later"
            if not self._fits(column.type, field.type):
                raise _unfit(field.name, was)
            try:
                columns.append(column.cast(field.type))
            except ValueError as error:
                # A number that the type does not hold exactly.
                raise _unfit(field.name, f"{was}: {error}") from None
        return self._arrow.table(columns, schema=self._schema)

    def _fits(self, later: Any, first: Any) -> bool:
        """Whether values of one type may become the other's: text never becomes a number."""
        kinds = self._arrow.types
        numbers = all(kinds.is_integer(kind) or kinds.is_floating(kind) for kind in (later, first))
        return numbers or later == first or kinds.is_null(later)


def _unfit(name: str, why: object) -> CommandError:
    first = (str(why).strip().splitlines() or [""])[0]
    return CommandError(
        f"column '{name}' has values of several types, and a column of Parquet has one ({first}); "
        "choose another format"
    )
