"""Requests that are refused for numbers that are NaN or infinite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import case

import modelserve as ms

NAMES = ["sl", "sw", "pl", "pw"]
ROW = [5.9, 3.0, 5.1, 1.8]


@pytest.fixture(scope="module")
def model() -> ms.Model:
    return ms.load(case("iris_v1").path, feature_names=NAMES, finite_inputs=True)


def spoiled(number: float, dtype: Any = np.float32) -> Any:
    rows = np.array([ROW, ROW, ROW], dtype)
    rows[1, 2] = number
    return rows


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_first_number_that_is_not_finite_is_named(
    model: ms.Model, number: float, dtype: Any
) -> None:
    rows = spoiled(number, dtype)
    forms = {
        "array": lambda: model.predict_batch(rows),
        "lists": lambda: model.predict_batch(rows.tolist()),
        "one row": lambda: model.predict(rows[1]),
        "one list": lambda: model.predict(rows[1].tolist()),
        "columns": lambda: model.predict_batch(dict(zip(NAMES, rows.T, strict=True))),
        "tensors": lambda: model.run({"X": rows.astype(np.float32)}),
        "reversed": lambda: model.predict_batch(rows[::-1]),
    }
    for form, ask in forms.items():
        with pytest.raises(ms.InvalidInputError, match="finite") as caught:
            ask()
        word = "NaN" if np.isnan(number) else "inf"
        assert word in str(caught.value), form


def test_where_it_is(model: ms.Model) -> None:
    with pytest.raises(ms.InvalidInputError, match=r"'pl' \(feature 2\) of row 1 is NaN"):
        model.predict_batch(spoiled(np.nan))


def test_finite_numbers_and_other_models_answer_as_ever(model: ms.Model) -> None:
    usual = ms.load(case("iris_v1").path)
    rows = np.array([ROW, np.full(4, np.finfo(np.float32).max)], np.float32)
    assert list(model.predict_batch(rows).predictions) == list(
        usual.predict_batch(rows).predictions
    )
    assert model.predict(ROW).prediction == usual.predict(ROW).prediction
    assert len(usual.predict_batch(spoiled(np.nan)).predictions) == 3
    assert model.info().options["finite_inputs"] is True
    assert "finite_inputs" not in usual.info().options


def test_neighbours_in_a_batch_are_answered(tmp_path: Path) -> None:
    config = tmp_path / "modelserve.toml"
    config.write_text(
        f'[models.m]\npath = "{case("iris_v1").path}"\nfinite_inputs = true\n'
        "[models.m.batching]\nmax_batch_size = 8\n"
    )
    manager = ms.ModelManager.from_config(config)
    handle = manager.model("m")
    rows = [ROW] * 7 + [[np.nan] * 4]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(handle.predict, row) for row in rows]
    expected = ms.load(case("iris_v1").path).predict(ROW).prediction
    assert [one.result().prediction for one in answers[:-1]] == [expected] * 7
    with pytest.raises(ms.InvalidInputError, match="finite"):
        answers[-1].result()


def test_a_request_is_held_to_the_limits_given() -> None:
    model = ms.load(case("iris_v1").path, max_rows=2, max_request_bytes=1000)
    assert len(model.predict_batch([ROW, ROW]).predictions) == 2
    with pytest.raises(ms.LimitExceededError, match="at most 2, "):
        model.predict_batch([ROW] * 3)
    with pytest.raises(ms.LimitExceededError, match="at most 1000, "):
        model.predict_batch(np.zeros((1, 10_000), np.float32))
    assert model.info().options == {"max_rows": 2, "max_request_bytes": 1000}
