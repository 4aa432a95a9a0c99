"""A million rows scored by the worker processes of a real Dask cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Case

import modelserve as ms
from modelserve.columns import ColumnScorer
from modelserve.process import DigestMismatchError

distributed = pytest.importorskip("dask.distributed", reason="needs dask and distributed")
dd = pytest.importorskip("dask.dataframe", reason="needs dask[dataframe] and pyarrow")
import dask.array as da  # noqa: E402
import pandas as pd  # noqa: E402

from modelserve.dask import predict, predict_proba  # noqa: E402

ROWS = 1_000_000
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
HANG = "120s"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of a million flowers, in pieces of 125,000."""
    random = np.random.default_rng(7)
    columns = {name: random.uniform(0.1, 8, ROWS).astype(np.float32) for name in NAMES}
    path = tmp_path_factory.mktemp("table") / "flowers.parquet"
    pd.DataFrame(columns).to_parquet(path, row_group_size=ROWS // 8)
    return path


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    try:
        with distributed.Client(cluster, timeout=HANG) as client:
            yield client
    finally:
        cluster.close()


def test_a_million_rows_are_scored_by_two_processes_as_by_one(
    client: Any, table: Path, iris: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = dd.read_parquet(table, split_row_groups=True)
    assert frame.npartitions == 8
    scored = predict(frame, iris.path, columns=NAMES, class_probability="p_", threads=1)
    # Nothing but the path, the digest and the names of columns goes into the tasks.
    sent = sum(len(distributed.protocol.pickle.dumps(task)) for task in dict(scored.dask).values())
    assert sent < 40_000
    scored = scored.persist()
    distributed.progress(scored, notebook=False)
    distributed.wait(scored, timeout=HANG)
    assert "100% Completed" in capsys.readouterr().out
    assert scored.columns.tolist() == [*NAMES, "prediction", "probability", "p_0", "p_1", "p_2"]
    # Both processes took part.
    assert sum(bool(keys) for keys in client.has_what().values()) == 2
    got = scored.compute()
    assert dict(got.dtypes) == dict(scored.dtypes) and len(got) == ROWS
    whole = pd.read_parquet(table)
    alone = ColumnScorer(ms.load(iris.path), columns=NAMES, class_probability="p_").score(whole)
    pd.testing.assert_frame_equal(got.reset_index(drop=True), whole.assign(**alone))


def test_arrays_in_chunks(client: Any, iris: Case) -> None:
    rows = np.tile(iris.rows, (20, 1))
    array = da.from_array(rows, chunks=(256, 3))
    labels = predict(array, iris.path)
    assert labels.compute().tolist() == iris.expected["labels"] * 20
    proba = predict_proba(array, iris.path)
    assert proba.shape == (len(rows), 3) and proba.dtype == np.float32
    np.testing.assert_array_equal(proba.compute(), ms.load(iris.path).predict_proba(rows))
    # The rest of Dask goes on from there.
    assert (labels == 1).sum().compute() == iris.expected["labels"].count(1) * 20


def test_a_worker_loads_a_file_once(client: Any, iris: Case, tmp_path: Path) -> None:
    path = Path(shutil.copy(iris.path, tmp_path / "model.onnx"))
    array = da.from_array(np.tile(iris.rows, (8, 1)), chunks=(len(iris.rows), 4))
    labels = predict(array, path)
    assert labels.numblocks == (8,)
    assert labels.compute().tolist() == iris.expected["labels"] * 8

    def loaded(path: str) -> tuple[int, int]:
        from modelserve.process import _FILES

        return os.getpid(), sum(len(f.models) for (p, _), f in _FILES._values.items() if p == path)

    counts = client.run(loaded, str(path)).values()
    assert len({pid for pid, _ in counts} | {os.getpid()}) == 3
    assert {count for _, count in counts} <= {0, 1} and sum(count for _, count in counts) >= 1


def test_another_file_on_a_worker_is_refused_by_name(
    client: Any, iris: Case, iris_v2: Case, tmp_path: Path
) -> None:
    path = Path(shutil.copy(iris.path, tmp_path / "model.onnx"))
    frame = dd.from_pandas(pd.DataFrame(iris.rows, columns=NAMES), npartitions=2)
    scored = predict(frame, path, columns=NAMES)
    shutil.copy(iris_v2.path, path)
    with pytest.raises(DigestMismatchError, match="on this machine has the SHA-256"):
        scored.compute()
    with pytest.raises(DigestMismatchError):
        predict(frame, iris.path, digest="0" * 64)


def test_features_are_found_by_name(iris: Case) -> None:
    frame = pd.DataFrame(iris.rows, columns=NAMES)
    shuffled = frame[NAMES[::-1]].assign(id=range(len(frame)))
    scored = predict(
        dd.from_pandas(shuffled, npartitions=2),
        iris.path,
        feature_names=NAMES,
        prediction="species",
        probability=None,
    ).compute(scheduler="synchronous")
    assert scored.columns.tolist() == [*NAMES[::-1], "id", "species"]
    assert scored["species"].tolist() == iris.expected["labels"]
    with pytest.raises(ms.InvalidInputError, match="no columns petal_width; it has id"):
        lacking = shuffled[["id", *NAMES[:3]]]
        predict(dd.from_pandas(lacking, npartitions=1), iris.path, columns=NAMES)
