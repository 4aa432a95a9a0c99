"""What skl2onnx converts wrongly: how to ask it otherwise, or else the reason to refuse."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError
from .calibration import is_isotonic
from .exact import parts

#: Python's word characters; skl2onnx writes `[a-zA-Z0-9_]` in their place.
_WORD = r"[\p{L}\p{N}_]"
#: What scikit-learn's patterns of tokens find, in a form without `\b`. skl2onnx finds words of one
#: letter, too, where the pattern asks for two: they come between the words of a bigram.
_TOKENS = {r"(?u)\b\w\w+\b": f"{_WORD}{_WORD}+", r"(?u)\b\w+\b": f"{_WORD}+"}


def needs_double(estimator: Any) -> bool:
    """Whether float32 is too coarse for this estimator.

    Gaussian processes add large terms that cancel, and curves of isotonic calibration are steep.
    """
    return any(
        type(part).__name__.startswith("GaussianProcess") or is_isotonic(part)
        for part in parts(estimator)
    )


def options(estimator: Any) -> dict[int, dict[str, Any]]:
    """Options for skl2onnx by the number of the part, which make it right."""
    found: dict[int, dict[str, Any]] = {}
    for part in parts(estimator):
        if _is_text(part) and part.token_pattern in _TOKENS:
            found[id(part)] = {"tokenexp": _TOKENS[part.token_pattern]}
    return found


def refuse(estimator: Any) -> None:
    """Raises :class:`UnsupportedError` for what skl2onnx converts wrongly, saying what to do."""
    for part in parts(estimator):
        if _is_text(part):
            _refuse_text(part)


def _is_text(part: Any) -> bool:
    return type(part).__name__ in ("CountVectorizer", "TfidfVectorizer")


def _refuse_text(part: Any) -> None:
    name = type(part).__name__
    if part.analyzer != "word":
        raise UnsupportedError(
            f"{name} with analyzer={part.analyzer!r}: skl2onnx keeps runs of white space that "
            "scikit-learn makes one space of. Use analyzer='word'"
        )
    pattern = part.token_pattern
    if pattern not in _TOKENS and any(c in (pattern or "") for c in "\\^$|("):
        raise UnsupportedError(
            f"{name} with token_pattern={pattern!r}: what Python and the tokenizer of ONNX take "
            f"for words differs. Use one of {', '.join(map(repr, _TOKENS))}, or a set of "
            "characters such as '[a-z]+'"
        )
