"""What the OpenAPI document says is what the server does: Schemathesis asks and compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

import modelserve as ms
from modelserve.fastapi import create_app

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

TOKEN = "s3cret"
#: Requests for each operation and kind of data.
EXAMPLES = 4


@pytest.fixture
def schema(loaded: ms.ModelManager, serve: Callable[..., str], tmp_path: Any) -> Any:
    app = create_app(loaded, default_model="iris", management=True, token=TOKEN, root=tmp_path)
    return schemathesis.openapi.from_url(f"{serve(app)}/openapi.json")


def operations(schema: Any) -> list[Any]:
    return [found.ok() for found in schema.get_all_operations()]


def checks() -> list[Any]:
    return [
        schemathesis.checks.not_a_server_error,
        schemathesis.checks.status_code_conformance,
        schemathesis.checks.content_type_conformance,
        schemathesis.checks.response_schema_conformance,
    ]


def beyond_int64(case: Any) -> bool:
    """What TensorFlow Serving, and so this library, refuses with an empty body."""
    version = str(case.path_parameters.get("version", ""))
    return version.isdecimal() and int(version) >= 2**63


def ask_all(schema: Any, mode: Any) -> list[int]:
    """Asks each operation, about models that there are and models that there are not."""
    statuses: list[int] = []
    # The model stays where it is: what these would do to it is in other tests.
    kept = [o for o in operations(schema) if not o.path.endswith(("/unload", "/load", "/reload"))]
    if mode is schemathesis.GenerationMode.NEGATIVE:
        # What takes nothing cannot be asked wrongly.
        kept = [o for o in kept if "requestBody" in o.definition.raw]
    with requests.Session() as session:
        for operation in kept:

            @hypothesis.settings(
                max_examples=EXAMPLES,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                for served in (False, True):
                    if served:
                        known = {"model": "iris", "version": 1}
                        given = case.path_parameters
                        given.update({k: v for k, v in known.items() if k in given})
                    if beyond_int64(case):
                        continue
                    answer = case.call_and_validate(session=session, checks=checks())
                    statuses.append(answer.status_code)

            ask()
    assert len(kept) > 10
    return statuses


def test_good_requests_are_answered_as_documented(schema: Any) -> None:
    statuses = ask_all(schema, schemathesis.GenerationMode.POSITIVE)
    assert {200, 400, 404} <= set(statuses)


def test_bad_requests_are_refused_as_documented(schema: Any) -> None:
    statuses = ask_all(schema, schemathesis.GenerationMode.NEGATIVE)
    assert 400 in statuses


def test_the_examples_of_the_document_are_answered(schema: Any) -> None:
    asked = 0
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for operation in operations(schema):
        raw = operation.definition.raw
        media = raw.get("requestBody", {}).get("content", {}).get("application/json", {})
        if ":regress" in operation.path or "{label}" in operation.path:
            # The model is no regressor, and has no label.
            continue
        for example in media.get("examples", {}).values():
            case = operation.Case(
                path_parameters={"model": "iris", "version": 1}, body=example["value"]
            )
            answer = case.call_and_validate(checks=checks(), headers=bearer)
            assert answer.status_code == 200, (operation.path, answer.text)
            asked += 1
    assert asked > 5


def test_changes_need_the_token_and_answer_as_documented(schema: Any) -> None:
    found = {operation.path: operation for operation in operations(schema)}
    model = {"model": "iris"}
    models = "/v2/repository/models/{model}"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path, headers, status in (
        ("/model/reload", {}, 401),
        (f"{models}/unload", {}, 401),
        ("/model/reload", bearer, 200),
        (f"{models}/load", bearer, 200),
        (f"{models}/unload", bearer, 200),
    ):
        named = {"path_parameters": model, "body": {}} if "{" in path else {}
        case = found[path].Case(**named)
        answer = case.call_and_validate(checks=checks(), headers=headers)
        assert answer.status_code == status, (path, answer.text)
        assert found[path].definition.raw["security"] == [{"HTTPBearer": []}]
