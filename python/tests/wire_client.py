"""A client that sends a target as it stands; libraries decode and shorten what they are given."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

HANG = 60
#: Seconds after which a connection is not used again: servers close them after one.
IDLE = 0.5


@dataclass
class Answer:
    """A status, headers by their names in small letters, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """The status and the message, which is all that an error's body holds."""
        assert list(self.json) == ["error"], self.body
        return self.status, self.json["error"]


class Wire:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=HANG)
        self._used = 0.0

    def ask(
        self,
        method: str,
        target: str,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends bytes and text as they are, and anything else as JSON."""
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if time.monotonic() - self._used > IDLE:
            self._connection.close()
        self._connection.request(method, target, body, dict(headers or {}))
        response = self._connection.getresponse()
        content = response.read()
        self._used = time.monotonic()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, content)

    def get(self, target: str) -> Answer:
        """A GET, answered as JSON whatever it says."""
        return self._json("GET", target, b"")

    def post(self, target: str, body: Any = b"") -> Answer:
        """A POST, answered as JSON whatever it says."""
        return self._json("POST", target, body)

    def predict(self, model: str, body: Any) -> Answer:
        """TensorFlow Serving's `:predict`."""
        return self.post(f"/v1/models/{model}:predict", body)

    def _json(self, method: str, target: str, body: Any) -> Answer:
        answer = self.ask(method, target, body)
        assert answer.headers["content-type"] == "application/json", target
        return answer

    def close(self) -> None:
        self._connection.close()
