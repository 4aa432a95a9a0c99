"""How many requests a canary answers before it is taken back, or promoted.

    python benches/canary.py [--runs 20] [--output FILE]

The two models of examples/data/models/breast_cancer answer 5.8 % of the test set differently.
Version 1 serves; version 2 (or version 1 once more, as an equal canary) is promoted by the default
steps, without a minimum of time, where at most 1 % of the answers may differ. Requests are random
rows of random users. Figures are numbers of requests: they do not depend on the machine.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
from collections import Counter

import numpy as np

import modelserve as ms
from modelserve.policies import Promote

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "data"
MOST = 400_000


def rows() -> np.ndarray:
    table = np.genfromtxt(DATA / "breast_cancer_test.csv", delimiter=",", skip_header=1)
    return table[:, :30].astype(np.float32)


def rollout(version: int, asked: np.ndarray, seed: int) -> tuple[str, int, int]:
    """How it ended, the canary's answers, and those in which it differed."""
    rng = np.random.default_rng(seed)
    manager = ms.ModelManager(keep_versions=2)
    manager.load("tumour", DATA / "models" / "breast_cancer" / "1" / "model.onnx")
    folder = DATA / "models" / "breast_cancer" / str(version)
    manager.load_version("tumour", folder / "model.onnx")
    stable = manager.predict_batch("tumour", asked, version=1).predictions
    promote: Promote = {"min_duration": "0s", "max_disagreement": 0.01}
    manager.configure("tumour", canary={"version": 2, "promote": promote})
    answers = differing = 0
    for n in range(1, MOST):
        which = int(rng.integers(len(asked)))
        answer = manager.predict("tumour", asked[which], key=f"user {rng.integers(10**6)}")
        if answer.receipt.route == "canary":
            answers += 1
            differing += answer.prediction != stable[which]
        if n % 100 == 0:
            promotion = manager.promotion("tumour")
            if promotion is None or promotion["state"] != "running":
                return promotion["state"] if promotion else "gone", answers, differing
    return "undecided", answers, differing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    asked = rows()
    lines = [
        "| canary | ended | the canary's answers: median (most) | differing: median (most) |",
        "|---|---|---:|---:|",
    ]
    for what, version in (("answers 5.8 % otherwise", 2), ("equal", 1)):
        runs = [rollout(version, asked, seed) for seed in range(arguments.runs)]
        ended = ", ".join(f"{how} {n}" for how, n in Counter(run[0] for run in runs).items())
        counted = ([run[1] for run in runs], [run[2] for run in runs])
        cells = (f"{statistics.median(n):,.0f} ({max(n):,})" for n in counted)
        lines.append(f"| {what} | {ended} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
