"""The code of docs/engines.md that starts an engine runs as it stands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs ray[serve,data]")
pytest.importorskip("dask.distributed", reason="needs dask and distributed")
sys.path.append(str(Path(__file__).resolve().parents[1]))
from test_how_tos import code, run


@pytest.mark.parametrize(
    ("section", "printed"),
    [
        ("Dask", "probability"),
        ("Ray Data", "'probability'"),
        ("Ray Serve", "'model_version': 1"),
    ],
)
def test_the_how_to_runs(tmp_path: Path, section: str, printed: str) -> None:
    assert printed in run(code("engines.md", section), tmp_path)
