"""Rows of files in, answers out: the formats that `predict`, `diff` and `bench` read and write."""

from .columns import Columns, places
from .formats import FORMATS, open_rows
from .rows import Batch, Rows

__all__ = ["FORMATS", "Batch", "Columns", "Rows", "open_rows", "places"]
