"""The policies of `ModelManager.configure`, as dicts in the words of the configuration file.

A time is a text (`"50ms"`, `"1m30s"`), a number of seconds or a `timedelta`; a size is a text
(`"64MiB"`) or a number of bytes. What is left out has its default (docs/configuration.md).
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias, TypedDict

Time: TypeAlias = str | float | timedelta
Size: TypeAlias = str | int


class Deadline(TypedDict, total=False):
    """One deadline over waiting and running, for requests that bring none."""

    default: Time


class Batching(TypedDict, total=False):
    """Requests that come while the model is busy run together."""

    max_batch_size: int
    max_queue_delay: Time
    preferred_batch_sizes: list[int]
    max_queue_size: int
    concurrency: int
    batch_invariant: bool


class Cache(TypedDict, total=False):
    """Answers kept by row."""

    capacity: Size
    ttl: Time


class Admission(TypedDict, total=False):
    """Refusal at the door when too much waits."""

    max_in_flight: int
    shed_on_predicted_wait: bool


class Breaker(TypedDict, total=False):
    """Rest for a version that fails or is slow."""

    window: Time
    min_requests: int
    failure_ratio: float
    slow_call: Time
    slow_ratio: float
    open_for: Time
    max_open_for: Time
    probes: int


class Constant(TypedDict, total=False):
    """A fixed answer: `label` with or without `probabilities`, or `value`."""

    label: int | str
    probabilities: list[float]
    value: float


class Fallback(TypedDict, total=False):
    """One fallback: exactly one of `version`, `label`, `model` and `constant`."""

    version: int
    label: str
    model: str
    constant: Constant
    on: list[str]
    reserve: Time


class Promote(TypedDict, total=False):
    """Raises a canary's part step by step, or takes it back."""

    steps: list[float]
    min_requests: int
    min_duration: Time
    alpha: float
    max_latency_ratio: float
    max_disagreement: float
    max_error_increase: float


class Canary(TypedDict, total=False):
    """A part of the traffic for exactly one of `version`, `label` and `model`."""

    version: int
    label: str
    model: str
    percent: float
    salt: str
    on_error_use_stable: bool
    promote: Promote


class Shadow(TypedDict, total=False):
    """A copy of the traffic for exactly one of `version`, `label` and `model`."""

    version: int
    label: str
    model: str
    percent: float
    max_pending: int
    timeout: Time
    tolerance: float
    max_kept_examples: int


class Policies(TypedDict, total=False):
    """What `ModelManager.configure` takes."""

    deadline: Deadline | bool | None
    fallback: list[Fallback] | None
    canary: Canary | None
    shadow: Shadow | None
    cache: Cache | bool | None
    admission: Admission | bool | None
    breaker: Breaker | bool | None
    batching: Batching | bool | None
    recent_inputs: int | None


def as_toml(policies: Mapping[str, Any]) -> str:
    """The section of a configuration file that says the same; None and False are left out."""
    lines = []
    for name, policy in policies.items():
        if name not in Policies.__annotations__:
            known = ", ".join(Policies.__annotations__)
            raise TypeError(f"unexpected keyword argument '{name}' (policies are {known})")
        if policy is None or policy is False:
            continue
        lines.append(f"{name} = {_value(name, {} if policy is True else policy)}")
    return "\n".join(lines)


def _value(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case numbers.Integral():
            return str(int(value))
        case numbers.Real():
            return repr(float(value))
        case timedelta():
            return repr(value.total_seconds())
        case str():
            # A JSON text is a TOML text, but for one control character that TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            entries = (f"{_key(k)} = {_value(f'{name}.{k}', v)}" for k, v in value.items())
            return "{" + ", ".join(entries) + "}"
        case list() | tuple():
            return "[" + ", ".join(_value(f"{name}[{i}]", v) for i, v in enumerate(value)) + "]"
    raise TypeError(f"{name}: expected a dict, list, text or number, got {type(value).__name__}")


def _key(key: object) -> str:
    return json.dumps(str(key), ensure_ascii=False)
