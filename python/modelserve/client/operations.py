"""What can be asked of a remote server, in either protocol, without any input or output."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgumentError, ModelServeError, NotReadyError
from . import v1, v2
from .answer import Answer
from .exchange import Call, Operation, Response, exchange
from .retry import Deadline, Retry

Protocol: TypeAlias = Literal["v1", "v2"]
#: An array for the only input of a model, or arrays by the names of inputs.
Inputs: TypeAlias = Any


class Asked(TypedDict, total=False):
    """What a request may ask for beside the answer."""

    #: A version; by default the serving one.
    version: int | None
    #: A label of a version (only `v1`).
    label: str | None
    #: What sticky routing goes by: a user's or session's id.
    key: str | None
    #: Seconds for all tries and waits together; by default the client's.
    timeout: float | None
    #: 1 is the highest (only `v2`).
    priority: int | None


class Operations:
    """The operations of one client."""

    def __init__(self, protocol: Protocol, timeout: float, retry: Retry) -> None:
        if protocol not in ("v1", "v2"):
            raise InvalidArgumentError(f"protocol = '{protocol}': expected 'v1' or 'v2'")
        Deadline(timeout)
        self.protocol, self.timeout, self.retry = protocol, timeout, retry
        # What the only input of a model is called. A model that is replaced keeps its signature
        # unless its operator says otherwise; then the server refuses, and says why.
        self._inputs: dict[tuple[str, int | None], tuple[str, np.dtype[Any]]] = {}

    def infer(
        self,
        model: str,
        inputs: Inputs,
        outputs: Iterable[str] | None = None,
        **asked: Unpack[Asked],
    ) -> Operation[Answer]:
        """Asks a model."""
        began = time.monotonic()
        deadline = self._deadline(asked)
        wanted = None if outputs is None else list(outputs)
        version, label, key = asked.get("version"), asked.get("label"), asked.get("key")
        priority = asked.get("priority")
        extra = {} if key is None else {"x-modelserve-key": key}
        if self.protocol == "v1":
            if priority is not None:
                raise InvalidArgumentError("priority: the protocol 'v1' has none; use 'v2'")
            call = v1.predict(model, version, label, _arrays(inputs))
            made = _with(call, extra)
            response = yield from exchange(lambda _: made, self.retry, deadline, model)
            found, said = v1.outputs(response), None
            if wanted is not None:
                found = {name: found[name] for name in wanted if name in found}
        else:
            if label is not None:
                raise InvalidArgumentError("label: the protocol 'v2' has none; use 'v1'")
            arrays = _arrays(inputs)
            if not isinstance(arrays, Mapping):
                name, dtype = yield from self._only_input(model, version, deadline)
                arrays = {name: arrays.astype(dtype, copy=False)}
            given: dict[str, Any] = {} if priority is None else {"priority": priority}

            def make(left: float) -> Call:
                # The server gives up when nobody waits any more.
                parameters = {**given, "timeout": max(1, int(left * 1e6))}
                return _with(v2.infer(model, version, arrays, wanted, parameters), extra)

            response = yield from exchange(make, self.retry, deadline, model)
            found, said = v2.outputs(response)
        return Answer(
            model=model,
            model_version=_number(response.headers.get("x-modelserve-version") or said),
            route=response.headers.get("x-modelserve-route"),
            outputs=found,
            latency_ms=(time.monotonic() - began) * 1e3,
            attempts=response.attempts,
        )

    def _only_input(
        self, model: str, version: int | None, deadline: Deadline
    ) -> Operation[tuple[str, np.dtype[Any]]]:
        known = self._inputs.get((model, version))
        if known is None:
            response = yield from self._get(v2.path(model, version), deadline, model)
            known = self._inputs[model, version] = v2.first_input(response)
        return known

    def is_ready(
        self, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> Operation[bool]:
        """Whether the server, or a model, can be asked; False where nothing answers."""
        deadline = self._deadline({"timeout": timeout})
        if self.protocol == "v2":
            where = "/v2/health" if model is None else v2.path(model, version)
            where += "/ready"
        elif model is None:
            raise InvalidArgumentError("the protocol 'v1' knows whether a model is ready: name one")
        else:
            where = v1.path(model, version)
        try:
            response = yield from exchange(lambda _: _get(where), Retry(1), deadline, model)
        except ModelServeError:
            return False
        return self.protocol == "v2" or v1.available(response)

    def metadata(
        self, model: str, version: int | None = None, timeout: float | None = None
    ) -> Operation[dict[str, Any]]:
        """What the server says of a model, in the protocol's words."""
        deadline = self._deadline({"timeout": timeout})
        if self.protocol == "v2":
            where = v2.path(model, version)
        else:
            where = v1.path(model, version) + "/metadata"
        response = yield from self._get(where, deadline, model)
        try:
            found: dict[str, Any] = json.loads(response.body)
        except ValueError as e:
            raise NotReadyError(f"the server's metadata are no JSON: {e}") from e
        return found

    def _get(self, path: str, deadline: Deadline, model: str) -> Operation[Response]:
        return (yield from exchange(lambda _: _get(path), self.retry, deadline, model))

    def _deadline(self, asked: Mapping[str, Any]) -> Deadline:
        timeout = asked.get("timeout")
        return Deadline(self.timeout if timeout is None else timeout)


def _get(path: str) -> Call:
    return Call("GET", path, {}, b"")


def _with(call: Call, headers: Mapping[str, str]) -> Call:
    return Call(call.method, call.path, {**call.headers, **headers}, call.body)


def _arrays(inputs: Inputs) -> NDArray[Any] | dict[str, NDArray[Any]]:
    if isinstance(inputs, Mapping):
        return {name: np.asarray(array) for name, array in inputs.items()}
    return np.asarray(inputs)


def _number(version: str | None) -> int | None:
    return int(version) if version is not None and version.isdecimal() else None
