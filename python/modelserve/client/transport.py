"""What both clients need of httpx, which is imported when a client is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgumentError, LimitExceededError
from .exchange import Broken, Call, Response
from .retry import Deadline

if TYPE_CHECKING:
    import httpx

#: Seconds that a connection without requests is kept: less than servers keep it (5 s and more), so
#: that no request meets one that is being closed.
_KEEP_ALIVE = 4.0


def library() -> Any:
    """The module httpx.

    Raises `ImportError` naming the extra to install.
    """
    try:
        import httpx
    except ImportError as e:
        raise ImportError("modelserve.client needs httpx: pip install 'modelserve[client]'") from e
    return httpx


def options(
    url: str, token: str | None, headers: Mapping[str, str] | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The keyword arguments of a client of httpx."""
    if not url.startswith(("http://", "https://")):
        raise InvalidArgumentError(f"url = '{url}': expected http://... or https://...")
    try:
        library().URL(url)
    except library().InvalidURL as e:
        raise InvalidArgumentError(f"url = '{url}': {e}") from e
    fields = dict(headers or {})
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    limits = library().Limits(keepalive_expiry=_KEEP_ALIVE)
    return {"base_url": url, "headers": fields, "limits": limits, **given}


class _Phases(dict[str, float]):
    """The time limit of each phase of a request: what is left when the phase begins."""

    def __init__(self, deadline: Deadline, connect: float) -> None:
        super().__init__()
        self._deadline, self._connect = deadline, connect
        #: Whether the phase that was begun last ends with the deadline.
        self.to_the_end = True

    def get(self, phase: str, default: Any = None) -> Any:
        left = max(self._deadline.left, 1e-3)
        self.to_the_end = phase != "connect" or left <= self._connect
        return left if self.to_the_end else self._connect


def request(client: Any, call: Call, deadline: Deadline, connect: float) -> httpx.Request:
    """The request of a call.

    Raises `InvalidArgumentError` for what HTTP does not carry.
    """
    try:
        made: httpx.Request = client.build_request(
            call.method,
            call.path.lstrip("/"),
            headers=dict(call.headers),
            content=call.body or None,
        )
    except UnicodeEncodeError as e:
        raise InvalidArgumentError(f"a header is ASCII: {e.object!r} is not") from e
    made.extensions["timeout"] = _Phases(deadline, connect)
    return made


def broken(error: httpx.RequestError, url: str) -> Broken:
    """What an error of httpx means."""
    httpx = library()
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.DecodingError):
        return Broken(f"the answer of {url} is not in its Content-Encoding: {reason}", sent=True)
    if isinstance(error, httpx.TooManyRedirects):
        return Broken(f"{url} answers nothing but redirects: {reason}", sent=True)
    late = isinstance(error, httpx.TimeoutException) and (
        error.request.extensions["timeout"].to_the_end
    )
    if isinstance(error, unsent):
        return Broken(f"no connection to {url}: {reason}", sent=False, late=late)
    reason = f"the connection to {url} broke before the answer: {reason}"
    return Broken(reason, sent=True, late=late)


class Body:
    """The body of a response, within its limits."""

    def __init__(self, most: int, deadline: Deadline) -> None:
        self._parts: list[bytes] = []
        self._size, self._most, self._deadline = 0, most, deadline

    def add(self, part: bytes) -> bool:
        """Takes a part; False when there is no time for more.

        Raises `LimitExceededError` for a body that is too long.
        """
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._most:
            raise LimitExceededError(
                f"the answer has more than {self._most} bytes (max_answer_bytes)"
            )
        return self._deadline.left > 0

    def response(self, got: httpx.Response) -> Response:
        """The whole response."""
        headers = {name.lower(): value for name, value in got.headers.items()}
        return Response(got.status_code, headers, b"".join(self._parts))
