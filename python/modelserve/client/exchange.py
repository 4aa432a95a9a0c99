"""Tries, waits and errors of one request, without any input or output: what is to be done is
yielded, and what came of it is sent back. The two clients carry it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ..errors import (
    AlreadyExistsError,
    CancelledError,
    DeadlineExceededError,
    ExecutionError,
    InvalidArgumentError,
    InvalidInputError,
    LimitExceededError,
    ModelServeError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    PermissionDeniedError,
    UnsupportedError,
)
from .retry import RETRIED_STATUSES, Deadline, Retry


@dataclass(frozen=True)
class Call:
    """A request as it goes out."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """A response as it came; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: Tries that were needed.
    attempts: int = 1

    def json(self, of_object: Callable[[dict[str, Any]], Any] | None = None) -> Any:
        """The body as JSON, each object replaced by what `of_object` makes of it.

        Raises `ValueError` for what is none, or nests deeper than this Python reads.
        """
        try:
            return json.loads(self.body, object_hook=of_object)
        except RecursionError as e:
            raise ValueError("it nests too deeply") from e


@dataclass(frozen=True)
class Send:
    """Send a call; the outcome is a `Response` or a `Broken`."""

    call: Call
    deadline: Deadline


@dataclass(frozen=True)
class Wait:
    """Wait so many seconds; there is no outcome."""

    seconds: float


@dataclass(frozen=True)
class Broken:
    """Nothing was answered."""

    #: What happened.
    reason: str
    #: Whether the request may have reached the server.
    sent: bool
    #: Whether it was the deadline that ended the try. A timer may end it a little before.
    late: bool = False


Step: TypeAlias = Send | Wait
Outcome: TypeAlias = Response | Broken | None
T = TypeVar("T")
#: An operation: yields steps, is sent outcomes, returns its result.
Operation: TypeAlias = Generator[Step, Outcome, T]

#: The class of error for a status; the rest are told by their first digit. A status says less than
#: a kind: 500 is whatever failed while the model ran.
_BY_STATUS: dict[int, type[ModelServeError]] = {
    400: InvalidInputError,
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: InvalidArgumentError,
    408: DeadlineExceededError,
    409: AlreadyExistsError,
    413: LimitExceededError,
    415: UnsupportedError,
    422: InvalidInputError,
    429: OverloadedError,
    499: CancelledError,
    500: ExecutionError,
    501: UnsupportedError,
    504: DeadlineExceededError,
}


def exchange(
    make: Callable[[float], Call], retry: Retry, deadline: Deadline, model: str | None
) -> Operation[Response]:
    """Sends what `make(seconds left)` gives until it is answered, cannot be tried again, or the
    deadline has passed; returns an answer of 200.

    Raises the class of `modelserve.errors` that fits the answer.
    """
    failed = 0
    while True:
        left = deadline.left
        if not left:
            raise named(_passed(deadline, failed), model)
        outcome = yield Send(make(left), deadline)
        failed += 1
        headers: Mapping[str, str] = {}
        if isinstance(outcome, Response):
            if 200 <= outcome.status < 300:
                return Response(outcome.status, outcome.headers, outcome.body, failed)
            error, again = refusal(outcome), outcome.status in RETRIED_STATUSES
            headers = outcome.headers
        else:
            assert isinstance(outcome, Broken)
            if outcome.late or not deadline.left:
                raise named(_passed(deadline, failed, outcome.reason), model)
            error, again = NotReadyError(outcome.reason), not outcome.sent
        if not again or failed >= retry.attempts:
            raise named(error, model)
        seconds = retry.wait(failed, headers)
        if seconds >= deadline.left:
            raise named(error, model)
        yield Wait(seconds)


def refusal(response: Response) -> ModelServeError:
    """The error that a response other than 200 stands for."""
    status = response.status
    default = NotReadyError if status >= 500 else InvalidArgumentError
    return _BY_STATUS.get(status, default)(f"{_message(response)} (HTTP status {status})")


def _message(response: Response) -> str:
    try:
        document = response.json()
        return str(document.get("error") or document["detail"])
    except (AttributeError, KeyError, ValueError, RecursionError):
        text = response.body[:200].decode("utf-8", "replace").strip()
        return text or "the server says no more"


def _passed(deadline: Deadline, tries: int, last: str = "") -> DeadlineExceededError:
    told = f": {last}" if last else ""
    return DeadlineExceededError(
        f"no answer within {deadline.seconds:g} s, after {tries} tries{told}"
    )


def named(error: ModelServeError, model: str | None) -> ModelServeError:
    """The error, with the name of the model that it is about."""
    error.model = model
    return error
