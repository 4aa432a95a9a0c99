"""The code of docs/engines.md that starts Ray runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs ray[serve,data]")

ROOT = Path(__file__).resolve().parents[3]
HANG = 300


def code(section: str) -> str:
    """The Python of a section of the document."""
    text = (ROOT / "docs" / "engines.md").read_text()
    text = re.split(rf"(?m)^## {re.escape(section)}$", text)[1].split("\n## ")[0]
    return "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```$", text))


def run(source: str, folder: Path) -> str:
    """Runs a program in the root of the project; what it printed."""
    program = folder / "how_to.py"
    program.write_text(source)
    command = [sys.executable, str(program)]
    ended = subprocess.run(
        command, cwd=ROOT, timeout=HANG, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("section", "printed"),
    [("Ray Data", "'probability'"), ("Ray Serve", "'model_version': 1")],
)
def test_the_how_to_runs(tmp_path: Path, section: str, printed: str) -> None:
    assert printed in run(code(section), tmp_path)
