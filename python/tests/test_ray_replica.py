"""A replica of Ray Serve by itself, which needs no Ray (with it: engines/test_ray.py)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Case

import modelserve as ms
from modelserve.ray import ModelDeployment, UserConfig, deployment


@pytest.fixture
def config(iris: Case, tmp_path: Path) -> Path:
    shutil.copy(iris.path, tmp_path / "model.onnx")
    path = tmp_path / "modelserve.toml"
    path.write_text('[models.iris]\npath = "model.onnx"\n')
    return path


BESIDE: list[tuple[str, str, Any]] = [
    ("digest", "digest", "0" * 64),
    ("load", "options", {"threads": 1}),
    ("policies", "policies", {"cache": True}),
]


@pytest.mark.parametrize(("argument", "key", "value"), BESIDE)
def test_a_configuration_file_stands_alone(
    config: Path, argument: str, key: str, value: Any
) -> None:
    with pytest.raises(ms.InvalidArgumentError, match=f"configuration file.* Leave out {key},"):
        deployment(config, **{argument: value})
    changed: UserConfig = {"path": str(config), key: value}  # type: ignore[misc]

    async def change() -> dict[str, Any]:
        replica = ModelDeployment("iris", {})
        # A replica with nothing to serve does not start; another one goes on.
        with pytest.raises(ms.InvalidArgumentError, match=key):
            await replica.reconfigure(changed)
        await replica.reconfigure({"path": str(config), "digest": None})
        await replica.reconfigure(changed)
        return replica.status()

    status = asyncio.run(change())
    assert status["versions"] == {"iris": 1} and f"Leave out {key}," in status["error"]
