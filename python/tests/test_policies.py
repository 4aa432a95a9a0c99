"""The policies' types say what the configuration file takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelserve import policies

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "modelserve.schema.json"
#: Where the schema of a model has the keys of each type.
PLACES = {
    "Deadline": ["deadline"],
    "Batching": ["batching"],
    "Cache": ["cache"],
    "Admission": ["admission"],
    "Breaker": ["breaker"],
    "Fallback": ["fallback"],
    "Constant": ["fallback", "constant"],
    "Canary": ["canary"],
    "Promote": ["canary", "promote"],
    "Shadow": ["shadow"],
}


def keys(*place: str) -> dict[str, Any]:
    """The keys of a section below `[models.<name>]`."""
    schema = json.loads(SCHEMA.read_text())["properties"]["models"]["additionalProperties"]
    for key in place:
        schema = schema["properties"][key]
        schema = schema.get("items", schema)
    properties: dict[str, Any] = schema["properties"]
    return properties


@pytest.mark.parametrize("name", PLACES)
def test_each_policy_has_the_keys_of_the_file(name: str) -> None:
    assert set(getattr(policies, name).__annotations__) == set(keys(*PLACES[name]))


def test_every_policy_of_the_file_has_a_keyword() -> None:
    known = set(policies.Policies.__annotations__)
    assert known == {place[0] for place in PLACES.values()} | {"recent_inputs"}
    sections = {
        key
        for key, schema in keys().items()
        if "properties" in schema or "properties" in schema.get("items", {})
    }
    # These two say how versions are tried, and what is kept of requests.
    assert sections - known == {"gate", "record"}
