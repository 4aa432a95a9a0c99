"""What cases are drawn from: shapes, values at the corners, types that the specification allows.

Hypothesis draws what a case is made of; the elements of an array come from a seed it draws, which
keeps an example small enough that twenty cases fit one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import defs

from .case import BFLOAT16, Case
from .oracle import complaints

#: Deterministic, and without a clock or a file: the same cases on every machine.
PROFILE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

#: Cases a model, and models a test: at least [`LEAST`] answers are compared.
BATCH, EXAMPLES, LEAST = 20, 13, 200

_NAMES = {"float": "float32", "double": "float64"}
_KNOWN = {
    *("float16", "bfloat16", "float32", "float64", "bool", "string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}
#: Of two types that are equally right, the common one is drawn more often.
_COMMON = ("float32", "int64")


def allowed(op: str, opset: int, position: int = 0, domain: str = "") -> list[str]:
    """NumPy's names of the types the specification allows for an input."""
    schema = defs.get_schema(op, opset, domain)
    variadic = min(position, len(schema.inputs) - 1)
    types = [t.removeprefix("tensor(").removesuffix(")") for t in schema.inputs[variadic].types]
    return sorted({_NAMES.get(t, t) for t in types} & _KNOWN)


def dtype_of(name: str) -> np.dtype:
    """NumPy's type of that name; texts are objects."""
    if name == "bfloat16":
        return BFLOAT16
    return np.dtype(object) if name == "string" else np.dtype(name)


def is_float(name: str) -> bool:
    return "float" in name


def limits(name: str) -> tuple[Any, Any]:
    """The least and the greatest number of a type."""
    dtype = dtype_of(name)
    about = ml_dtypes.finfo(dtype) if is_float(name) else np.iinfo(dtype)
    return about.min, about.max


WORDS = ("", "a", "b", "ab", "Hello", "hello world", "ß", "naïve", "日本", "-0", "1.5", "x y  z")


class Draw:
    """Hypothesis' `draw` with what operators need."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw

    def pick(self, items: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(items))

    def int(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.int(0, 1 << 16))

    def dtype(self, names: Sequence[str], among: str = "") -> str:
        """One of `names`, the common ones twice as often; `among` asks for `float` or `int`."""
        if among == "int":
            names = [n for n in names if "int" in n]
        elif among:
            names = [n for n in names if among in n]
        return str(self.pick([*names, *(n for n in names if n in _COMMON)]))

    def shape(self, low: int = 0, high: int = 4, side: int = 4, empty: bool = True) -> list[int]:
        """Dimensions; now and then one is zero."""
        rank = self.int(low, high)
        shape = [int(s) for s in self.rng().integers(1, side + 1, rank)]
        if rank and empty and self.int(0, 9) == 0:
            shape[self.int(0, rank - 1)] = 0
        return shape

    def narrower(self, shape: Sequence[int], low: int = 0) -> list[int]:
        """A shape that broadcasts to `shape`: fewer dimensions, and ones among them."""
        kept = list(shape[self.int(0, len(shape) - low) if len(shape) > low else 0 :])
        ones = self.rng().integers(0, 4, len(kept)) == 0
        return [1 if one else side for side, one in zip(kept, ones, strict=True)]

    def axis(self, rank: int) -> int:
        """An axis, from the front or from behind."""
        return self.int(-rank, rank - 1)

    def axes(self, rank: int, least: int = 0) -> list[int]:
        """Different axes in any order, some of them negative."""
        rng = self.rng()
        count = self.int(min(least, rank), rank)
        chosen = rng.permutation(rank)[:count]
        return [int(a) - rank * int(rng.integers(0, 2)) for a in chosen]

    def values(self, dtype: str, shape: Sequence[int], kind: str | None = None) -> np.ndarray:
        """An array; without a kind it is any of `small`, `normal` and `corners`."""
        return fill(self.rng(), dtype, shape, kind or self.pick(("small", "normal", "corners")))

    def constants(self, count: int) -> list[int]:
        """Which of `count` inputs are initializers."""
        return [i for i in range(count) if self.flag()]


def fill(rng: np.random.Generator, dtype: str, shape: Sequence[int], kind: str) -> np.ndarray:
    """Elements of a kind.

    small     quarters between -4 and 4, or whole numbers: exact in every type
    positive  the same from a quarter, or one, upwards
    normal    of the normal distribution; whole numbers between -100 and 100
    special   small ones with NaN, infinities and zeros of both signs among them
    finite    small ones with NaN and zeros of both signs
    corners   what `special` has, and the least, the greatest and the smallest numbers
    """
    count = int(np.prod(shape, dtype=np.int64))
    if dtype == "string":
        texts = [WORDS[i] for i in rng.integers(0, len(WORDS), count)]
        return np.array([*texts, ""], dtype=object)[:count].reshape(shape)
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool).reshape(shape)
    unsigned = dtype.startswith("u")
    if is_float(dtype):
        numbers = rng.integers(-16, 17, count) / 4
        if kind == "positive":
            numbers = rng.integers(1, 17, count) / 4
        elif kind == "normal":
            numbers = rng.standard_normal(count)
        elif kind in ("special", "corners", "finite"):
            special = [0.0, -0.0, np.nan]
            special += [np.inf, -np.inf] if kind != "finite" else []
            numbers = np.where(rng.integers(0, 2, count) == 0, rng.choice(special, count), numbers)
        made = numbers.astype(dtype_of(dtype))
        if kind == "corners":
            about = ml_dtypes.finfo(dtype_of(dtype))
            extremes = np.array(
                [about.max, about.min, about.tiny, about.smallest_subnormal], made.dtype
            )
            made = np.where(rng.integers(0, 4, count) == 0, rng.choice(extremes, count), made)
        return made.astype(dtype_of(dtype)).reshape(shape)
    low, high = limits(dtype)
    if kind == "corners":
        made = rng.choice(np.array([0, 1, 2, 7, low, high, low + 1], dtype), count)
    elif kind == "positive":
        made = rng.integers(1, 5, count)
    elif kind == "normal":
        made = rng.integers(0 if unsigned else -100, 101, count)
    else:
        made = rng.integers(0 if unsigned else -4, 5, count)
    return np.asarray(made).astype(dtype).reshape(shape)


Build = Callable[[Draw], Case]


def cases(*builders: Build) -> st.SearchStrategy[Case]:
    """Cases of any of the builders."""

    @st.composite
    def drawn(draw: Any) -> Case:
        return draw(st.sampled_from(builders))(Draw(draw))

    return drawn()


def hold(*builders: Build, examples: int = EXAMPLES, least: int = LEAST) -> Counter[str]:
    """Holds modelserve to the oracle in at least `least` cases of these builders."""
    tally: Counter[str] = Counter()

    @settings(PROFILE, max_examples=examples)
    @given(st.lists(cases(*builders), min_size=BATCH, max_size=BATCH))
    def batches(batch: list[Case]) -> None:
        found = complaints(batch, tally)
        assert not found, f"{len(found)} wrong of {len(batch)}:\n" + "\n\n".join(found[:4])

    batches()
    assert tally["judged"] >= least, dict(tally)
    return tally
