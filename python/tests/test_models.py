"""Every model of tests/data answers as its trainer does."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import case, case_names

import modelserve as ms


def test_there_are_models() -> None:
    assert len(case_names()) >= 30


@pytest.mark.parametrize("name", case_names())
def test_answers_are_the_trainers(name: str) -> None:
    c = case(name)
    model = ms.load(c.path)
    batch = model.predict_batch(c.rows)
    assert len(batch) == len(c.rows)
    if "labels" in c.expected:
        assert list(batch.predictions) == c.expected["labels"]
        for i, row in enumerate(c.rows.tolist()):
            assert model.predict(row).prediction == c.expected["labels"][i]
    if "probabilities" in c.expected:
        want = np.array(c.expected["probabilities"])
        assert batch.classes == c.expected["classes"]
        np.testing.assert_allclose(batch.probabilities, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(model.predict_proba(c.rows), batch.probabilities)
        one = model.predict(c.rows[0])
        assert one.probabilities == pytest.approx(want[0], abs=1e-5)
        assert one.probability == pytest.approx(want[0].max(), abs=1e-5)
    if "decision" in c.expected:
        assert batch.probabilities is None
        np.testing.assert_allclose(batch.scores, c.expected["decision"], rtol=1e-5, atol=1e-4)
        with pytest.raises(ms.UnsupportedError, match="no probabilities"):
            model.predict_proba(c.rows)
    if "values" in c.expected and "labels" not in c.expected:
        want = np.array(c.expected["values"])
        got = np.asarray(batch.predictions).reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["iris_v1", "random_forest", "xgb_classifier", "mlp"])
def test_a_row_answers_the_same_alone_and_in_a_batch(name: str) -> None:
    c = case(name)
    model = ms.load(c.path)
    batch = model.predict_batch(c.rows)
    for i, p in enumerate(batch):
        assert model.predict(c.rows[i]).scores == p.scores


@pytest.mark.parametrize("name", ["logistic", "mlp", "gaussian_nb", "random_forest"])
def test_the_plain_plan_answers_alike(name: str) -> None:
    c = case(name)
    plain, optimised = (ms.load(c.path, plan=plan) for plan in ("plain", "optimised"))
    p, o = plain.predict_batch(c.rows), optimised.predict_batch(c.rows)
    np.testing.assert_array_equal(p.predictions, o.predictions)
    np.testing.assert_allclose(p.probabilities, o.probabilities, rtol=1e-5, atol=1e-5)
    with pytest.raises(ms.InvalidArgumentError, match="no plan is called 'fast'"):
        ms.load(c.path, plan="fast")
