"""Operators that are tested here and not implemented yet: the one list of them.

Each has to be refused by name when a model is loaded. One that is answered has to leave the list,
says `test_missing.py`; from then on its answers are held to the oracle like all others.
"""

from __future__ import annotations

#: `domain:operator`, with an empty domain for `ai.onnx`.
NOT_YET: frozenset[str] = frozenset()
