"""Forks, ends and signals a few times each: `make soak-process` has a thousand of each."""

from __future__ import annotations

import os

import process_soak
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.mark.parametrize(
    ("scenario", "times"),
    [(process_soak.fork, 8), (process_soak.leave, 6), (process_soak.signals, 20)],
    ids=["fork", "exit", "signals"],
)
def test_no_child_hangs(scenario: process_soak.Scenario, times: int) -> None:
    tally = scenario(times)
    assert (tally.times, tally.hung, tally.wrong) == (times, 0, 0), tally
