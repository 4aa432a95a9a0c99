"""What an operation of a protocol is, and how the OpenAPI document describes it.

The models describe bodies and do not read them: reading is done by the compiled module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

#: The largest version there is (int64).
_MAX_VERSION = 2**63 - 1

_PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "model": {"description": "The model's name.", "schema": {"type": "string", "minLength": 1}},
    "version": {
        "description": "The number of one of its versions.",
        "schema": {"type": "integer", "format": "int64", "minimum": 1, "maximum": _MAX_VERSION},
    },
    "label": {
        "description": "A label that points to one of its versions.",
        "schema": {"type": "string", "pattern": "^[a-zA-Z0-9_]+$"},
    },
}

#: What sticky routing goes by.
KEY_PARAMETER: dict[str, Any] = {
    "name": "x-modelserve-key",
    "in": "header",
    "description": "What sticky routing goes by: a user's or session's id.",
    "schema": {"type": "string"},
}

_MEANING = {
    400: "The request is at fault",
    401: "The bearer token is missing or wrong",
    403: "Changing models by request is turned off, or a file may not be read",
    404: "There is no such model or version",
    409: "It exists already",
    413: "The request exceeds a limit",
    415: "The body is compressed",
    429: "Too many requests wait already",
    500: "The model, or the server, failed",
    501: "The model cannot be asked this",
    503: "The model cannot answer at present: ask another server",
    504: "The deadline passed",
}

#: Errors that any operation may be answered with.
COMMON_ERRORS = (400, 404, 413, 415, 500, 501, 503, 504)
#: Those of operations that change models, beyond these.
MANAGEMENT_ERRORS = (401, 403, 409)


@dataclass(frozen=True)
class Operation:
    """A request of a protocol, as the OpenAPI document shows it."""

    method: str
    path: str
    summary: str
    tag: str
    #: The body of errors, and the statuses that have it.
    error: type[BaseModel]
    errors: tuple[int, ...]
    request: type[BaseModel] | None = None
    #: Whether a body may be left out.
    optional_body: bool = False
    #: What 200 has; None where its body is empty.
    response: Any = None
    #: The media types of 200, where it is text.
    texts: tuple[str, ...] = ()
    #: Response bodies by status, where they are not `error`.
    responses: dict[int, type[BaseModel]] = field(default_factory=dict)
    #: Request bodies to try, by what they show.
    examples: dict[str, Any] = field(default_factory=dict)
    parameters: tuple[dict[str, Any], ...] = ()
    #: Whether the operation changes models.
    management: bool = False
    #: Whether the answer names the version that gave it.
    predicts: bool = False

    def openapi_responses(self) -> dict[int | str, dict[str, Any]]:
        """The operation's `responses`, as FastAPI takes them."""
        ok: dict[str, Any] = {"description": "The answer"}
        if self.response is not None:
            ok["model"] = self.response
        if self.texts:
            ok["content"] = {media: {"schema": {"type": "string"}} for media in self.texts}
        if self.predicts:
            ok["headers"] = {
                "x-modelserve-version": {
                    "description": "The version that answered.",
                    "schema": {"type": "integer"},
                },
                "x-modelserve-route": {
                    "description": "The way that the request took.",
                    "schema": {"type": "string", "enum": ["stable", "canary", "fallback"]},
                },
            }
        responses: dict[int | str, dict[str, Any]] = {200: ok}
        for status in sorted(set(self.errors) | set(self.responses)):
            # As a schema: of each model FastAPI would make a validator, hundreds in all.
            body = inline_schema(self.responses.get(status, self.error))
            responses[status] = {
                "description": _MEANING[status],
                "content": {"application/json": {"schema": body}},
            }
        return responses

    def openapi_extra(self, model: str, row: list[float]) -> dict[str, Any]:
        """Parameters and body of the operation; `model` and `row` stand in its examples."""
        names = re.findall(r"{(\w+)}", self.path)
        parameters = [
            {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]}
            | ({"example": model} if name == "model" else {})
            for name in names
        ]
        parameters += self.parameters
        if self.predicts:
            parameters.append(KEY_PARAMETER)
        extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
        if self.request is not None:
            media: dict[str, Any] = {"schema": inline_schema(self.request)}
            if self.examples:
                media["examples"] = {
                    key: {"summary": key, "value": _filled(value, row)}
                    for key, value in self.examples.items()
                }
            extra["requestBody"] = {
                "required": not self.optional_body,
                "content": {"application/json": media},
            }
        return extra


#: Stands in examples where a row of the model's own goes, and its width.
ROW, WIDTH = object(), object()


def _filled(example: Any, row: list[float]) -> Any:
    if example is ROW:
        return row
    if example is WIDTH:
        return len(row)
    if isinstance(example, dict):
        return {key: _filled(value, row) for key, value in example.items()}
    if isinstance(example, list):
        return [_filled(value, row) for value in example]
    return example


@cache
def inline_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model without references, which would lead nowhere where it is put."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(item) for item in part]
        if not isinstance(part, dict):
            return part
        reference = part.get("$ref")
        if reference is not None:
            return resolved(definitions[reference.rpartition("/")[2]])
        return {key: resolved(value) for key, value in part.items()}

    inlined: dict[str, Any] = resolved(schema)
    return inlined
