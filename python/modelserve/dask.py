"""Dask: partitions are scored where they are; what travels is a path and a digest.

Needs `dask` (and `dask.dataframe`, `dask.array` for what is scored): `pip install
'modelserve[dask]'`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from .columns import ColumnScorer
from .process import Options, frozen, process_model

if TYPE_CHECKING:
    from ._native import _LoadOptions


def predict(
    collection: Any,
    path: str | os.PathLike[str],
    *,
    digest: str | None = None,
    columns: Iterable[str] | None = None,
    prediction: str = "prediction",
    probability: str | None = "probability",
    class_probability: str | None = None,
    **options: Unpack[_LoadOptions],
) -> Any:
    """The answers of the model of a file for every row of a Dask collection, computed lazily.

    A `dask.dataframe` gets columns of answers beside its own (which ones: `ColumnScorer`). A
    `dask.array` of `[rows, features]` gives an array of labels or values; its chunks must know
    their widths.

    The file lies under the same path on every worker. Its digest is that of the file here unless
    `digest` is given; a worker whose file has another one fails with `DigestMismatchError`. Each
    worker process loads it once. `options` are those of `load`.
    """
    model, ask = _model(path, digest, options)
    if _is_array(collection):
        return _map_rows(collection, ask, model.predict_batch, "predictions")
    names = None if columns is None else tuple(columns)
    wanted = (names, prediction, probability, class_probability)
    return collection.map_partitions(
        _score_frame, *ask, *wanted, meta=_meta(collection, ask, wanted)
    )


def predict_proba(
    array: Any,
    path: str | os.PathLike[str],
    *,
    digest: str | None = None,
    **options: Unpack[_LoadOptions],
) -> Any:
    """The probabilities `[rows, classes]` for a `dask.array` of `[rows, features]`; else as
    `predict`.
    """
    model, ask = _model(path, digest, options)
    return _map_rows(array, ask, model.predict_proba, "probabilities")


#: What a task carries: the path, the digest and the load options.
_Ask = tuple[str, str, Options]
#: Columns of features, and the names of the columns of answers.
_Wanted = tuple[tuple[str, ...] | None, str, str | None, str | None]


def _model(path: str | os.PathLike[str], digest: str | None, options: Any) -> tuple[Any, _Ask]:
    where = os.path.abspath(path)
    model = process_model(where, digest, **options)
    return model, (where, model.info().digest, frozen(options))


def _is_array(collection: Any) -> bool:
    return hasattr(collection, "map_blocks") and hasattr(collection, "chunks")


def _score_frame(
    frame: Any,
    path: str,
    digest: str,
    options: Options,
    columns: tuple[str, ...] | None,
    prediction: str,
    probability: str | None,
    class_probability: str | None,
) -> Any:
    scorer = ColumnScorer(
        process_model(path, digest, **dict(options)),
        columns=columns,
        prediction=prediction,
        probability=probability,
        class_probability=class_probability,
    )
    return frame.assign(**scorer.score(frame))


def _meta(collection: Any, ask: _Ask, wanted: _Wanted) -> Any:
    # Types of answers are known from answers: of one row that means nothing.
    empty = collection._meta
    row = empty.reindex([0])
    for name, kind in empty.dtypes.items():
        row[name] = np.zeros(1, kind) if getattr(kind, "kind", "O") in "biuf" else ""
    return _score_frame(row, *(ask + wanted)).iloc[:0]


def _map_rows(
    array: Any, ask: _Ask, question: Any, what: Literal["predictions", "probabilities"]
) -> Any:
    if array.ndim != 2:
        raise ValueError(f"expected an array of [rows, features], got {array.ndim} dimensions")
    rows = array.rechunk({1: -1})
    width = rows.shape[1]
    answer = _answer(question(np.zeros((1, width), rows.dtype)), what)
    one = answer.ndim == 1
    return rows.map_blocks(
        _score_block,
        *ask,
        what,
        dtype=answer.dtype,
        drop_axis=1 if one else None,
        chunks=None if one else (rows.chunks[0], (answer.shape[1],)),
        meta=answer[:0],
    )


def _answer(answer: Any, what: Literal["predictions", "probabilities"]) -> NDArray[Any]:
    values = answer.predictions if what == "predictions" else answer
    return np.asarray(values)


def _score_block(
    block: NDArray[Any],
    path: str,
    digest: str,
    options: Options,
    what: Literal["predictions", "probabilities"],
) -> NDArray[Any]:
    model = process_model(path, digest, **dict(options))
    ask = model.predict_batch if what == "predictions" else model.predict_proba
    step = 65_536
    parts = [_answer(ask(block[at : at + step]), what) for at in range(0, len(block) or 1, step)]
    return np.concatenate(parts)
