"""What can be asked of a remote server, in either protocol, without any input or output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ..casting import cast
from ..errors import (
    InvalidArgumentError,
    InvalidInputError,
    ModelServeError,
    NotFoundError,
    NotReadyError,
)
from . import v1, v2
from .answer import Answer
from .exchange import Call, Operation, Response, exchange, named
from .retry import Deadline, Retry

Protocol: TypeAlias = Literal["v1", "v2"]
#: An array for the only input of a model, or arrays by the names of inputs.
Inputs: TypeAlias = Any
#: Name and type of the only input of a model; None for a type that is not the protocol's.
_Input: TypeAlias = tuple[str, np.dtype[Any] | None]


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
        # What the only inputs of models are. A model that is replaced keeps its signature unless
        # its operator says otherwise; then a request is refused, and the server is asked again.
        self._inputs: dict[tuple[str, int | None], _Input] = {}

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
            with _about(model):
                call = v1.predict(model, version, label, _arrays(inputs))
            made = _with(call, extra)
            response = yield from exchange(lambda _: made, self.retry, deadline, model)
            with _about(model):
                found, said = v1.outputs(response, wanted), None
        else:
            if label is not None:
                raise InvalidArgumentError("label: the protocol 'v2' has none; use 'v1'")
            with _about(model):
                arrays = _arrays(inputs)
            given: dict[str, Any] = {} if priority is None else {"priority": priority}

            def send(arrays: Mapping[str, NDArray[Any]]) -> Operation[Response]:
                def make(left: float) -> Call:
                    # The server gives up when nobody waits any more.
                    parameters = {**given, "timeout": max(1, int(left * 1e6))}
                    with _about(model):
                        call = v2.infer(model, version, arrays, wanted, parameters)
                    return _with(call, extra)

                return exchange(make, self.retry, deadline, model)

            if isinstance(arrays, Mapping):
                response = yield from send(arrays)
            else:
                response = yield from self._send_only(arrays, send, model, version, deadline)
            with _about(model):
                found, said = v2.outputs(response)
        return Answer(
            model=model,
            model_version=_number(response.headers.get("x-modelserve-version") or said),
            route=response.headers.get("x-modelserve-route"),
            outputs=found,
            latency_ms=(time.monotonic() - began) * 1e3,
            attempts=response.attempts,
        )

    def _send_only(
        self,
        array: NDArray[Any],
        send: Callable[[Mapping[str, NDArray[Any]]], Operation[Response]],
        model: str,
        version: int | None,
        deadline: Deadline,
    ) -> Operation[Response]:
        """Sends an array as the only input of a model."""
        known = self._inputs.get((model, version))
        if known is not None:
            try:
                return (yield from send(_named_input(array, known, model)))
            except (InvalidInputError, NotFoundError) as e:
                # Another model may have come in the place of the one that was asked about.
                self._inputs.pop((model, version), None)
                try:
                    fresh = yield from self._only_input(model, version, deadline)
                except ModelServeError:
                    raise e from None
                if fresh == known:
                    raise
        else:
            fresh = yield from self._only_input(model, version, deadline)
        return (yield from send(_named_input(array, fresh, model)))

    def _only_input(self, model: str, version: int | None, deadline: Deadline) -> Operation[_Input]:
        response = yield from self._get(v2.path(model, version), deadline, model)
        with _about(model):
            found = self._inputs[model, version] = v2.first_input(response)
        return found

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
            found = response.json()
        except ValueError as e:
            raise named(NotReadyError(f"the server's metadata are no JSON: {e}"), model) from e
        if not isinstance(found, dict):
            raise named(NotReadyError("the server's metadata are no JSON object"), model)
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


@contextmanager
def _about(model: str) -> Iterator[None]:
    """Names the model in the errors of what is not sent."""
    try:
        yield
    except ModelServeError as e:
        raise named(e, model)  # noqa: B904 (the same error)


def _named_input(array: NDArray[Any], only: _Input, model: str) -> dict[str, NDArray[Any]]:
    name, dtype = only
    with _about(model):
        return {name: array if dtype is None else cast(array, dtype, f"input '{name}'")}


def _arrays(inputs: Inputs) -> NDArray[Any] | dict[str, NDArray[Any]]:
    if isinstance(inputs, Mapping):
        return {name: _array(array) for name, array in inputs.items()}
    return _array(inputs)


def _array(given: Any) -> NDArray[Any]:
    try:
        found = np.asarray(given)
        if found.dtype.kind in "US" and not isinstance(given, np.ndarray):
            # NumPy makes texts of numbers beside texts.
            found = np.asarray(given, object)
    except UnicodeDecodeError:
        # Bytes beside texts.
        return np.asarray(given, object)
    except ValueError as e:
        raise InvalidInputError(f"an input is no array: {e}") from e
    return found


def _number(version: str | None) -> int | None:
    return int(version) if version is not None and version.isdecimal() else None
