"""The coroutines of `predict_async` and the like."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Submission(Protocol):
    """A request of the compiled module, not yet submitted."""

    def submit(self, event_loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any] | None:
        """Submits; None when the model has to be loaded first."""

    def prepare(self) -> None:
        """Loads the model; blocks."""

    def cancel(self) -> None:
        """Cancels the request; of no effect once it is answered."""


async def answer(submission: Submission) -> Any:
    """Submits a request and waits for its answer."""
    loop = asyncio.get_running_loop()
    while (future := submission.submit(loop)) is None:
        await asyncio.to_thread(submission.prepare)
    try:
        return await future
    except BaseException:
        submission.cancel()
        raise
