"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar, Unpack

from .answer import Answer
from .exchange import Broken, Operation, Outcome, Response, Send, Step
from .operations import Asked, Inputs, Operations, Protocol
from .retry import Retry
from .transport import Body, broken, library, options, request

T = TypeVar("T")


class AsyncClient:
    """Asks models of a remote server: this library's, or any that speaks one of the protocols.

    Belongs to one event loop; any number of tasks may use it at once. Cancelling a task cancels its
    request.

    >>> async with AsyncClient("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     (await client.predict("iris", [5.1, 3.5, 1.4, 0.2])).prediction
    0
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: Protocol = "v2",
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_answer_bytes: int = 256 << 20,
        **httpx_options: Any,
    ) -> None:
        """`protocol` is "v2" (Open Inference Protocol, arrays as bytes) or "v1" (TensorFlow
        Serving, JSON). `timeout` is the time of a call in seconds, all tries and waits together,
        and `connect_timeout` that of one try to connect. `token` is sent as a bearer token,
        `headers` with every request. `httpx_options` are those of `httpx.AsyncClient` (`verify`,
        `cert`, `proxy`, ...).
        """
        self.url = url.rstrip("/")
        self._operations = Operations(protocol, timeout, retry or Retry())
        self._connect, self._most = connect_timeout, max_answer_bytes
        self._httpx = library()
        self._http = self._httpx.AsyncClient(**options(self.url, token, headers, httpx_options))

    async def infer(
        self,
        model: str,
        inputs: Inputs,
        outputs: Iterable[str] | None = None,
        **asked: Unpack[Asked],
    ) -> Answer:
        """Asks a model: `inputs` are arrays by the names of inputs, or one array for its only one.

        `outputs` names the outputs that are wanted. Raises the classes of `modelserve.errors`:
        `NotReadyError` where nobody answers, `DeadlineExceededError` after the timeout, else what
        the status of the answer stands for.
        """
        return await self._carry_out(self._operations.infer(model, inputs, outputs, **asked))

    async def predict(self, model: str, row: Any, **asked: Unpack[Asked]) -> Answer:
        """The answer for one row of a model with one input: see `prediction` and `probability`."""
        return await self.infer(model, [row], **asked)

    async def predict_batch(self, model: str, rows: Any, **asked: Unpack[Asked]) -> Answer:
        """The answers for many rows of a model with one input: see `predictions`."""
        return await self.infer(model, rows, **asked)

    async def is_ready(
        self, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> bool:
        """Whether the server (only "v2"), or a model, can be asked. Nothing is tried again."""
        return await self._carry_out(self._operations.is_ready(model, version, timeout))

    async def metadata(
        self, model: str, version: int | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """What the server says of a model, in the protocol's words."""
        return await self._carry_out(self._operations.metadata(model, version, timeout))

    async def aclose(self) -> None:
        """Closes all connections; the client cannot be used any more."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _carry_out(self, operation: Operation[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = operation.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._step(step)

    async def _step(self, step: Step) -> Outcome:
        if not isinstance(step, Send):
            await asyncio.sleep(step.seconds)
            return None
        try:
            async with asyncio.timeout(step.deadline.left):
                made = request(self._http, step.call, step.deadline, self._connect)
                got = await self._http.send(made, stream=True)
                try:
                    return await self._read(got, step)
                finally:
                    await got.aclose()
        except TimeoutError:
            return Broken("the answer was not complete", sent=True, late=True)
        except self._httpx.RequestError as e:
            return broken(e, self.url)

    async def _read(self, got: Any, step: Send) -> Response | Broken:
        body = Body(self._most, step.deadline)
        async for part in got.aiter_bytes():
            if not body.add(part):
                return Broken("the answer was not complete", sent=True)
        return body.response(got)
