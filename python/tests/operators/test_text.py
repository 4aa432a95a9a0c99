"""Operators on texts, against Python."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .case import Case, single
from .strategies import WORDS, Draw, hold


def texts(shape: Any, words: list[str]) -> np.ndarray:
    return np.array([*words, ""], dtype=object)[:-1].reshape(shape)


def concat(g: Draw) -> Case:
    shape = g.shape()
    a, b = (g.values("string", g.narrower(shape)) for _ in range(2))
    constant = g.constants(2)
    return single(
        "StringConcat",
        [a, b],
        opset=20,
        constant=constant,
        want=lambda: [np.asarray(a + b, object)],
    )


SENTENCES = ("a,b,c", "a  b c", "", " ", ",,", "a", "one two  three", "a, b", "é è", ",a,", "x, ,y")


def split(g: Draw) -> Case:
    shape = g.shape(0, 2)
    count = int(np.prod(shape))
    x = texts(shape, [SENTENCES[i] for i in g.rng().integers(0, len(SENTENCES), count)])
    delimiter = g.pick((None, "", ",", " ", ", "))
    most = g.pick((None, 0, 1, 2, 5))

    def want() -> list[np.ndarray]:
        by = delimiter or None
        parts = [t.split(by, -1 if most is None else most) for t in x.ravel().tolist()]
        # An empty text has no parts, also where Python's is one empty part.
        parts = [p if t else [] for p, t in zip(parts, x.ravel().tolist(), strict=True)]
        width = max((len(p) for p in parts), default=0)
        flat = [t for p in parts for t in [*p, *[""] * (width - len(p))]]
        counts = np.array([len(p) for p in parts], np.int64).reshape(shape)
        return [texts([*shape, width], flat), counts]

    attributes = {"delimiter": delimiter, "maxsplit": most}
    # Where an empty text is split at a delimiter, onnxruntime and the reference implementation
    # differ, and the specification has no word on it.
    judged = not delimiter or all(x.ravel())
    constant = g.constants(1)
    return single(
        "StringSplit",
        [x],
        attributes,
        outputs=2,
        opset=20,
        constant=constant,
        want=want,
        judged=judged,
    )


PATTERNS = (
    *("a", "a*", ".*", "[a-z]+", "(ab|a)", r"\d+", r"-?\d+(\.\d+)?", "Hello.*", "", "x y  z"),
    *(r"[^ ]+ [^ ]+", ".", "ß", r"\w+"),
)


def match(g: Draw) -> Case:
    x = g.values("string", g.shape(0, 3))
    pattern = g.pick(PATTERNS)

    def want() -> list[np.ndarray]:
        # RE2's classes are of ASCII.
        found = [re.fullmatch(pattern, t, re.ASCII) is not None for t in x.ravel().tolist()]
        return [np.array(found, bool).reshape(x.shape)]

    attributes = {"pattern": pattern}
    constant = g.constants(1)
    return single("RegexFullMatch", [x], attributes, opset=20, constant=constant, want=want)


def normalize(g: Draw) -> Case:
    """Letters that lower and upper case agree on in every locale."""
    plain = [w for w in WORDS if w.isascii()]
    count = g.int(0, 5)
    x = texts([count], [plain[i] for i in g.rng().integers(0, len(plain), count)])
    matrix = g.flag()
    if matrix:
        x = x.reshape(1, count)
    case = g.pick((None, "NONE", "LOWER", "UPPER"))
    stop = list({plain[i] for i in g.rng().integers(0, len(plain), 2)}) if g.flag() else None
    exact = g.pick((None, 0, 1))

    def want() -> list[np.ndarray]:
        fold = (lambda t: t) if exact else str.lower
        dropped = {fold(s) for s in stop or []}
        kept = [t for t in x.ravel().tolist() if fold(t) not in dropped]
        change: Any = {"LOWER": str.lower, "UPPER": str.upper}.get(case or "", lambda t: t)
        words = [change(t) for t in kept] or [""]
        return [texts([1, len(words)] if matrix else [len(words)], words)]

    attributes = {"case_change_action": case, "stopwords": stop, "is_case_sensitive": exact}
    return single("StringNormalizer", [x], attributes, constant=g.constants(1), want=want)


def grams(g: Draw) -> Case:
    """Against onnxruntime: counts of n-grams with skips."""
    words = g.flag()
    pool: list[Any] = ["a", "b", "c", "d"] if words else [1, 2, 3, 4]
    rng = g.rng()
    shape = [g.int(1, 6)] if g.flag() else [g.int(1, 3), g.int(1, 6)]
    chosen = [pool[i] for i in rng.integers(0, 4, int(np.prod(shape)))]
    x = texts(shape, chosen) if words else np.array(chosen, np.int64).reshape(shape)
    ones = [[w] for w in pool[: g.int(1, 4)]]
    twos = [[a, b] for a in pool[:2] for b in pool[: g.int(1, 3)]]
    least = g.int(1, 2)
    most = g.int(least, 2)
    flat = [w for gram in [*ones, *twos] for w in gram]
    count = len(ones) + len(twos)
    attributes: dict[str, Any] = {
        "mode": g.pick(("TF", "IDF", "TFIDF")),
        "min_gram_length": least,
        "max_gram_length": most,
        "max_skip_count": g.int(0, 3),
        "ngram_counts": [0, len(ones)],
        "ngram_indexes": [int(i) for i in rng.permutation(count)],
        "weights": [float(w) / 2 for w in rng.integers(1, 5, count)] if g.flag() else None,
    }
    attributes["pool_strings" if words else "pool_int64s"] = flat
    return single("TfIdfVectorizer", [x], attributes, constant=g.constants(1))


def test_texts() -> None:
    hold(concat, split, match, normalize, grams, examples=25)
