"""A local model that falls back to a remote one."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from .._native import Model, Predictions
from ..errors import ModelServeError
from .answer import Answer
from .asynchronous import AsyncClient
from .blocking import Client

#: The kinds of errors that speak of the model, not of the request: those of docs/resilience.md.
FALLBACK_ON = frozenset(
    {"Execution", "Internal", "DeadlineExceeded", "NotReady", "Overloaded", "Io"}
)


class _Budget:
    """The time of a call, a part of it kept for the remote model."""

    def __init__(self, timeout: float | None, reserve: float) -> None:
        self._timeout, self._reserve, self._began = timeout, reserve, time.monotonic()

    def local(self) -> float | None:
        return None if self._timeout is None else max(self._timeout - self._reserve, 1e-6)

    def remote(self, error: ModelServeError) -> float | None:
        if self._timeout is None:
            return None
        left = self._timeout - (time.monotonic() - self._began)
        if left <= 0:
            raise error
        return left


class RemoteFallback:
    """A local model; where it cannot answer, a remote one is asked, once.

    Which errors the remote model is asked on is `on`, by kind; what is wrong with the request
    itself is wrong everywhere and is raised. When both fail, the local error is raised with a note
    of the remote one.

    >>> model = RemoteFallback(manager.model("iris"), client, "iris")  # doctest: +SKIP
    >>> model.predict_batch(rows, timeout=0.2).predictions  # doctest: +SKIP
    """

    def __init__(
        self,
        local: Model,
        client: Client,
        model: str,
        *,
        on: Collection[str] = FALLBACK_ON,
        reserve: float = 0.0,
    ) -> None:
        """`model` is the name at the server of `client`; `reserve` the seconds of a call's timeout
        that are kept for it.
        """
        self.local, self.client, self.model = local, client, model
        self.on, self.reserve = on, reserve

    def predict_batch(self, rows: Any, timeout: float | None = None) -> Predictions | Answer:
        """The answers for many rows: both kinds have `predictions`, `probabilities`,
        `model_version` and `latency_ms`.
        """
        budget = _Budget(timeout, self.reserve)
        try:
            return self.local.predict_batch(rows, timeout=budget.local())
        except ModelServeError as error:
            _pass_on(error, self.on)
            left = budget.remote(error)
            try:
                return self.client.predict_batch(self.model, rows, timeout=left)
            except ModelServeError as e:
                raise _both(error, e) from e

    def run(self, inputs: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Named outputs for named inputs."""
        budget = _Budget(timeout, self.reserve)
        try:
            return self.local.run(inputs, timeout=budget.local())
        except ModelServeError as error:
            _pass_on(error, self.on)
            left = budget.remote(error)
            try:
                return self.client.infer(self.model, inputs, timeout=left).outputs
            except ModelServeError as e:
                raise _both(error, e) from e


class AsyncRemoteFallback:
    """As `RemoteFallback`, to be awaited."""

    def __init__(
        self,
        local: Model,
        client: AsyncClient,
        model: str,
        *,
        on: Collection[str] = FALLBACK_ON,
        reserve: float = 0.0,
    ) -> None:
        """As for `RemoteFallback`."""
        self.local, self.client, self.model = local, client, model
        self.on, self.reserve = on, reserve

    async def predict_batch(self, rows: Any, timeout: float | None = None) -> Predictions | Answer:
        """As `RemoteFallback.predict_batch`."""
        budget = _Budget(timeout, self.reserve)
        try:
            return await self.local.predict_batch_async(rows, timeout=budget.local())
        except ModelServeError as error:
            _pass_on(error, self.on)
            left = budget.remote(error)
            try:
                return await self.client.predict_batch(self.model, rows, timeout=left)
            except ModelServeError as e:
                raise _both(error, e) from e

    async def run(self, inputs: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """As `RemoteFallback.run`."""
        budget = _Budget(timeout, self.reserve)
        try:
            return await self.local.run_async(inputs, timeout=budget.local())
        except ModelServeError as error:
            _pass_on(error, self.on)
            left = budget.remote(error)
            try:
                return (await self.client.infer(self.model, inputs, timeout=left)).outputs
            except ModelServeError as e:
                raise _both(error, e) from e


def _pass_on(error: ModelServeError, on: Collection[str]) -> None:
    if error.kind not in on:
        raise error


def _both(local: ModelServeError, remote: ModelServeError) -> ModelServeError:
    local.add_note(f"the remote model failed, too: {type(remote).__name__}: {remote}")
    return local
