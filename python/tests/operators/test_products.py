"""Products of matrices, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, single
from .strategies import Draw, allowed, hold, is_float


def product_values(g: Draw, dtype: str, shape: list[int]) -> np.ndarray:
    return g.values(dtype, shape, g.pick(("small", "normal", "special")))


def doubled(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if is_float(x.dtype.name) else x


def matmul(g: Draw) -> Case:
    opset = g.pick((9, 13))
    dtype = g.dtype(allowed("MatMul", opset))
    rows, inner, columns = g.shape(3, 3)
    batch = g.shape(0, 2)
    a = [*g.narrower(batch), rows, inner]
    b = [*g.narrower(batch), inner, columns]
    # One operand or both may be a vector.
    if g.int(0, 4) == 0:
        a = [inner]
    if g.int(0, 4) == 0:
        b = [inner]
    x, y = product_values(g, dtype, a), product_values(g, dtype, b)

    def want() -> list[np.ndarray]:
        return [np.asarray(np.matmul(doubled(x), doubled(y))).astype(x.dtype)]

    return single("MatMul", [x, y], opset=opset, constant=g.constants(2), want=want)


def gemm(g: Draw) -> Case:
    opset = g.pick((9, 11, 13))
    dtype = g.dtype(allowed("Gemm", opset))
    m, k, n = g.shape(3, 3)
    trans_a, trans_b = g.flag(), g.flag()
    a = product_values(g, dtype, [k, m] if trans_a else [m, k])
    b = product_values(g, dtype, [n, k] if trans_b else [k, n])
    # A factor with a fraction is no integer: what it makes of integers is not said.
    factors = (None, 1.0, 0.5, -2.0) if is_float(dtype) else (None, 1.0, 2.0)
    alpha, beta = g.pick(factors), g.pick(factors)
    inputs = [a, b]
    c = None
    if opset == 9 or g.int(0, 3):
        c = g.values(dtype, g.narrower([m, n]), "small")
        inputs.append(c)

    def want() -> list[np.ndarray]:
        left, right = doubled(a), doubled(b)
        y = (left.T if trans_a else left) @ (right.T if trans_b else right)
        y = y if alpha is None else y * np.array(alpha, y.dtype)
        if c is not None:
            y = y + doubled(c) * np.array(1 if beta is None else beta, y.dtype)
        return [y.astype(a.dtype)]

    attributes: dict[str, Any] = {
        "alpha": alpha,
        "beta": beta,
        "transA": int(trans_a) if trans_a or g.flag() else None,
        "transB": int(trans_b) if trans_b or g.flag() else None,
    }
    return single(
        "Gemm", inputs, attributes, opset=opset, constant=g.constants(len(inputs)), want=want
    )


EQUATIONS = (
    "ij,jk->ik",
    "ij,jk",
    "bij,bjk->bik",
    "i,i->",
    "i,j->ij",
    "ii->i",
    "ii",
    "ij->ji",
    "ij->",
    "ij->j",
    "ijk->ki",
    "bhid,bhjd->bhij",
    "bhij,bhjd->bihd",
    "...ij,...jk->...ik",
    "...i->...",
    "...ij->...ji",
    "i...,i...->...",
    "ij,ij->ij",
    "ij,kj->ik",
    "ij,jk,kl->il",
    "a,b,c->abc",
    "iij->j",
    "ijj,jk->ik",
    " i j , j k -> i k ",
    "ab,cd->abcd",
    "abc,cd,da->bd",
    "ba",
)


def einsum(g: Draw) -> Case:
    equation = g.pick(EQUATIONS)
    dtype = g.dtype([d for d in allowed("Einsum", 12) if d != "bool"])
    sides = dict(zip("abcdhijkl", g.shape(9, 9, side=3), strict=True))
    more = g.shape(0, 2, side=3)
    arrays = []
    for term in equation.replace(" ", "").split("->")[0].split(","):
        letters = term.replace("...", ".")
        shape: list[int] = []
        for letter in letters:
            shape += more if letter == "." else [sides[letter]]
        arrays.append(g.values(dtype, shape, "small"))

    def want() -> list[np.ndarray]:
        plain = equation.replace(" ", "")
        answer = np.einsum(plain, *(doubled(a) for a in arrays))
        return [np.asarray(answer).astype(arrays[0].dtype)]

    attributes = {"equation": equation}
    return single("Einsum", arrays, attributes, constant=g.constants(len(arrays)), want=want)


def test_matmul() -> None:
    hold(matmul)


def test_gemm() -> None:
    hold(gemm)


def test_einsum() -> None:
    hold(einsum)
