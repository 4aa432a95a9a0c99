"""The coroutines of `predict_async` and the like."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Submission(Protocol):
    """A request of the compiled module, not yet submitted."""

    def submit(self, event_loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> bool:
        """Submits, for `future`; False when the model has to be loaded first."""

    def prepare(self) -> None:
        """Loads the model; blocks."""

    def cancel(self) -> None:
        """Cancels the request; of no effect once it is answered."""


class Delivery(Protocol):
    """Answers of the compiled module for one loop."""

    def take(self) -> list[tuple[asyncio.Future[Any], Any, BaseException | None]]:
        """Takes them: each a future, a value, and what to raise instead or None."""


def deliver(delivery: Delivery) -> None:
    """Sets answers on the futures that wait for them; called by their loop."""
    for future, value, raised in delivery.take():
        # Cancelled meanwhile, perhaps.
        if not future.done():
            if raised is None:
                future.set_result(value)
            else:
                future.set_exception(raised)


async def answer(submission: Submission) -> Any:
    """Submits a request and waits for its answer."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    while not submission.submit(loop, future):
        await asyncio.to_thread(submission.prepare)
    try:
        return await future
    except BaseException:
        submission.cancel()
        raise
