"""The code of the how-tos runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANG = 300


def code(document: str, section: str | None = None) -> str:
    """The Python of a document, or of one of its sections."""
    text = (ROOT / "docs" / document).read_text()
    if section is not None:
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


def test_clients(tmp_path: Path) -> None:
    printed = run(code("client.md"), tmp_path).splitlines()
    assert len(printed) == 5 and printed[-1].startswith("Predictions ")


@pytest.mark.parametrize("section", ["One model a process", "Pickling"])
def test_processes(tmp_path: Path, section: str) -> None:
    run(code("engines.md", section), tmp_path)
