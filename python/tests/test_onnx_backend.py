"""ONNX's own tests of backends, from the installed package, against the library.

What fails is in `onnx_backend_failures.txt`, with the reason: a list that may only shrink, since a
test that is in it and passes fails too.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import modelserve

pytest.importorskip("onnx")

import onnx_cases

LIST = Path(__file__).with_name("onnx_backend_failures.txt")

#: How many tests of each suite pass at least: of 1,884, 23, 82 and 35 in onnx 1.23.2.
PASSING = {"node": 1852, "simple": 23, "pytorch-converted": 82, "pytorch-operator": 35}


def expected_failures() -> dict[str, str]:
    """The reasons by the tests' keys."""
    found = {}
    for line in LIST.read_text().splitlines():
        if line and not line.startswith("#"):
            key, _, reason = line.partition(" ")
            assert reason.strip(), f"no reason for {key}"
            assert key not in found, f"{key} is there twice"
            found[key] = reason.strip()
    return found


FAILURES = expected_failures()


def answer(case: onnx_cases.Case) -> str | None:
    """What is wrong with the answers of a case."""
    model = modelserve.load(case.model())
    names = [spec.name for spec in model.signature.inputs]
    for number, (inputs, outputs) in enumerate(case.data_sets()):
        given = {n: v for n, v in zip(names, inputs, strict=False) if v is not None}
        got = list(model.run(given).values())
        wrong = onnx_cases.differ(list(outputs), got, case.rtol, case.atol, f"{case.name} {number}")
        if wrong:
            return wrong
    return None


@pytest.mark.parametrize("key", sorted(onnx_cases.cases()))
def test_case(key: str) -> None:
    random.seed(0)
    case = onnx_cases.cases()[key]
    try:
        wrong = answer(case)
    except modelserve.ModelServeError as error:
        wrong = f"{type(error).__name__}: {error}"
    reason = FAILURES.get(key, "")
    if reason.startswith("random"):
        assert wrong is None or "values differ" in wrong, wrong
        return
    if reason:
        assert wrong, f"{key} passes now: take it out of {LIST.name}"
        return
    assert wrong is None, wrong


def test_as_many_pass_as_are_promised() -> None:
    keys = onnx_cases.cases()
    assert set(FAILURES) <= set(keys), set(FAILURES) - set(keys)
    for suite, least in PASSING.items():
        passing = sum(
            1 for key, case in keys.items() if case.suite == suite and key not in FAILURES
        )
        assert passing >= least, f"{suite}: {passing} pass, promised are {least}"
