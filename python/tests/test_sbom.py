"""The bill of materials: whole, consistent, and the same for the same tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo here")


def written(output: Path) -> dict:
    command = [sys.executable, ROOT / "python" / "sbom.py", "--output", output]
    subprocess.run(command, check=True, timeout=300)
    return json.loads(output.read_text())


def test_the_bill_of_materials_names_every_crate_and_its_checksum(tmp_path: Path) -> None:
    bill = written(tmp_path / "a.json")
    assert written(tmp_path / "b.json") == bill
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    main = bill["metadata"]["component"]
    components = {c["purl"]: c for c in [main, *bill["components"]]}
    assert len(components) == len(bill["components"]) + 1
    for crate in lock:
        version = crate["version"].replace("+", "%2B")
        component = components[f"pkg:cargo/{crate['name']}@{version}"]
        hashes = [h["content"] for h in component.get("hashes", [])]
        assert hashes == ([crate["checksum"]] if "checksum" in crate else [])
        assert component["licenses"], f"{crate['name']} says no licence"
    by_name = {c["name"]: c for c in bill["components"]}
    for name, scope in [("prost", "required"), ("criterion", "excluded"), ("numpy", "required")]:
        assert by_name[name]["scope"] == scope, name
    assert by_name["onnx"]["scope"] == "optional"
    for dependency in bill["dependencies"]:
        for reference in [dependency["ref"], *dependency["dependsOn"]]:
            assert reference in components
