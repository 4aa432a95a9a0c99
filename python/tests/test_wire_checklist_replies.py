"""What TensorFlow Serving answers: status, metadata, results, errors; a test for each point."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import case
from wire_client import HANG, Answer, Wire
from wire_models import KINDS, listening, no_versions, served

import modelserve as ms


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[Wire, ms.ModelManager]]:
    with served() as both:
        yield both


@pytest.fixture
def wire(asked: tuple[Wire, ms.ModelManager]) -> Wire:
    return asked[0]


@pytest.fixture
def manager(asked: tuple[Wire, ms.ModelManager]) -> ms.ModelManager:
    return asked[1]


def test_04_status_has_string_versions_newest_first_and_200_for_a_failed_load(wire: Wire) -> None:
    def entry(version: str, state: str, code: str = "OK", message: str = "") -> object:
        status = {"error_code": code, "error_message": message}
        return {"version": version, "state": state, "status": status}

    answer = wire.get("/v1/models/iris")
    assert answer.status == 200 and list(answer.json) == ["model_version_status"]
    failed, *others = answer.json["model_version_status"]
    assert others == [entry("3", "END"), entry("2", "AVAILABLE"), entry("1", "AVAILABLE")]
    message = failed["status"]["error_message"]
    assert message and failed == entry("4", "END", "FAILED_PRECONDITION", message)
    for version, state in (("1", "AVAILABLE"), ("3", "END"), ("4", "END")):
        answer = wire.get(f"/v1/models/iris/versions/{version}")
        (one,) = answer.json["model_version_status"]
        assert (answer.status, one["version"], one["state"]) == (200, version, state)
    assert wire.get("/v1/models/iris/labels/nonsense").json == wire.get("/v1/models/iris").json
    assert wire.get("/v1/models/nobody").error == (404, no_versions("nobody"))
    nine = "Could not find version 9 of model iris"
    assert wire.get("/v1/models/iris/versions/9").error == (404, nine)


def test_05_metadata_nests_signature_def_twice(wire: Wire) -> None:
    def tensor(name: str, dtype: str, *sizes: str) -> object:
        dims = [{"size": size, "name": ""} for size in sizes]
        shape = {"dim": dims, "unknown_rank": False}
        return {"dtype": dtype, "tensor_shape": shape, "name": f"{name}:0"}

    def metadata(model: str, version: str, inputs: object, outputs: object) -> object:
        signature = {
            "inputs": inputs,
            "outputs": outputs,
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        return {
            "model_spec": {"name": model, "signature_name": "", "version": version},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }

    inputs = {"a": tensor("a", "DT_FLOAT", "-1", "2"), "b": tensor("b", "DT_INT64", "-1")}
    outputs = {"c": tensor("c", "DT_FLOAT", "-1", "2"), "d": tensor("d", "DT_INT64", "-1")}
    answer = wire.get("/v1/models/two/metadata")
    assert (answer.status, answer.json) == (200, metadata("two", "1", inputs, outputs))
    for name, (_, word) in KINDS.items():
        x, y = (tensor(name, f"DT_{word}", "-1") for name in "xy")
        assert wire.get(f"/v1/models/{name}/metadata").json == metadata(
            name, "1", {"x": x}, {"y": y}
        )
    inputs = {"X": tensor("X", "DT_FLOAT", "-1", "4")}
    outputs = {"label": tensor("label", "DT_INT64", "-1")}
    outputs["probabilities"] = tensor("probabilities", "DT_FLOAT", "-1", "3")
    for path, version in (("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")):
        answer = wire.get(f"/v1/models/iris{path}/metadata")
        assert answer.json == metadata("iris", version, inputs, outputs)
    # Only what is available has any.
    gone = "Servable not found for request: Specific(iris, 3)"
    assert wire.get("/v1/models/iris/versions/3/metadata").error == (404, gone)
    # One that failed to load is known and not ready (docs/http.md).
    assert wire.get("/v1/models/iris/versions/4/metadata").status == 503


def test_06_classify_and_regress_answer_results(wire: Wire, manager: ms.ModelManager) -> None:
    words, line = case("logistic_strings"), case("linear_regression")
    manager.load("words", words.path)
    features = [f"f{i}" for i in range(line.rows.shape[1])]
    manager.load("line", line.path, feature_names=features)

    rows = words.expected["rows"][:3]
    answer = wire.post("/v1/models/words:classify", {"examples": [{"X": row} for row in rows]})
    assert answer.status == 200 and list(answer.json) == ["results"]
    for got, expected in zip(answer.json["results"], words.expected["probabilities"], strict=False):
        assert [pair[0] for pair in got] == words.expected["classes"]
        assert np.allclose([pair[1] for pair in got], expected, atol=1e-5)

    values = np.ravel(line.expected["values"])[:3]
    examples = [dict(zip(features, row, strict=True)) for row in line.expected["rows"][:3]]
    body: dict[str, object] = {"signature_name": "serving_default", "examples": examples}
    answer = wire.post("/v1/models/line:regress", body)
    assert answer.status == 200 and list(answer.json) == ["results"]
    assert np.allclose(answer.json["results"], values, rtol=1e-4)
    # What a context says holds for each example that does not say it itself; lists are values too.
    context = {"f0": [examples[0]["f0"]], "f1": 99.5}
    examples = [{k: v for k, v in examples[0].items() if k != "f0"}]
    answer = wire.post("/v1/models/line:regress", {"examples": examples, "context": context})
    assert np.allclose(answer.json["results"], values[:1], rtol=1e-4)

    for example, says in [
        ({"X": [1, 2.5]}, "Unexpected element type in feature: X expecting type: int64"),
        ({"X": ["a", True]}, "Unexpected element type in feature: X expecting type: bytes"),
        ({"X": [2**64 - 1]}, "Feature: X has uint64 element. Only int64 is supported."),
    ]:
        status, message = wire.post("/v1/models/words:classify", {"examples": [example]}).error
        assert status == 400 and message.startswith(says), message
    for empty in ("{}", '{"examples": []}'):
        assert wire.post("/v1/models/words:classify", empty).status == 400


SIGNATURE = '{"signature_name": 5, "instances": [1]}'
BOTH = '{"instances": [1], "inputs": [1]}'
ELEMENT = "Failed to process element: "
#: Messages that clients look for: model, body, message. Of one with "…" only the beginning: the
#: original has a blank behind it.
MESSAGES = [
    ("float", "", "JSON Parse error: The document is empty"),
    ("float", '{"instances": x}', "JSON Parse error: Invalid value. at offset: 14"),
    ("float", '{"inputs": ["y"]}', 'JSON Value: "y" Type: String is not of expected type: float'),
    (
        "float",
        SIGNATURE,
        f"JSON Value: {SIGNATURE} not formatted correctly. "
        "'signature_name' key must be a string value.",
    ),
    ("float", "{}", "Missing 'inputs' or 'instances' key"),
    (
        "float",
        '{"instances": []}',
        "JSON Value: {\"instances\": []} No values in 'instances' array",
    ),
    (
        "float",
        BOTH,
        f"JSON Value: {BOTH} Not formatted correctly expecting only one of 'inputs' or 'instances' "
        "keys to exist…",
    ),
    (
        "float",
        '{"instances": [1], "signature_name": "X"}',
        'Serving signature name: "X" not found in signature def',
    ),
    ("two", '{"inputs": {"b": [1]}}', "Missing named input: a in 'inputs' object."),
    (
        "two",
        '{"instances": [{"z": 1}]}',
        f"{ELEMENT}0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: "
        "does not have named input: z",
    ),
    (
        "pair",
        '{"instances": [[1, 2], [1, 2, 3]]}',
        f"{ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting tensor size: 2 but got: 3",
    ),
    (
        "two",
        '{"instances": [{"a": [1, 2]}]}',
        f"{ELEMENT}0 of 'instances' list. JSON object: {{\"a\": [1, 2]}} "
        "keys must be equal to: a,b",
    ),
    ("uneven", '{"instances": [1]}', "Tensor name: q has inconsistent batch size: 3 expecting: 2"),
]


def test_07_error_table_codes_and_messages(wire: Wire, manager: ms.ModelManager) -> None:
    for model, body, message in MESSAGES:
        status, got = wire.predict(model, body).error
        assert status == 400, (body, got)
        assert got.startswith(message[:-1]) if message[-1] == "…" else got == message, (body, got)
    # A value is quoted up to 256 bytes.
    _, message = wire.predict("float", {"inputs": ["y" * 5000]}).error
    found = re.fullmatch(r"JSON Value: (\"y+.*) Type: String is not of expected type: .*", message)
    assert found is not None and 200 < len(found[1]) <= 256, message

    def code(answer: Answer) -> int:
        status, message = answer.error
        assert message
        return status

    ok = {"instances": [1]}
    # INVALID_ARGUMENT and NOT_FOUND are above and in the first test. OUT_OF_RANGE: too many rows.
    assert code(wire.predict("float", {"instances": [1] * 1001})) == 400
    # UNIMPLEMENTED.
    for kind in ("half", "bfloat16"):
        conversion = f"Conversion of JSON Value: 1 to type: {kind}"
        assert wire.predict(kind, {"inputs": [1]}).error == (501, conversion)
    # UNAVAILABLE: known, but its load failed.
    row = case("iris_v1").expected["rows"][0]
    assert code(wire.predict("iris/versions/4", {"instances": [row]})) == 503
    # RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED.
    manager.configure("busy", admission={"max_in_flight": 1}, deadline={"default": "1s"})
    other = Wire(wire.url)
    long: list[int] = []

    def ask_long() -> None:
        # The short requests of below may be in its way.
        while not long or long[-1] == 429:
            long.append(code(other.predict("busy", {"inputs": 10**9})))

    thread = threading.Thread(target=ask_long)
    thread.start()
    try:
        statuses = set()
        while thread.is_alive() and 429 not in statuses:
            statuses.add(wire.predict("busy", {"inputs": 1}).status)
        assert statuses <= {200, 429} and 429 in statuses
    finally:
        thread.join(HANG)
        other.close()
    assert long[-1] == 504
    assert wire.predict("float", ok).status == 200
    # FAILED_PRECONDITION stands in a status, see above. CANCELLED, ALREADY_EXISTS, INTERNAL and
    # DATA_LOSS need a model made in code to be answered here: tests/protocol_tfs.rs has them all.
    # PERMISSION_DENIED and UNAUTHENTICATED: management, which has the paths of other protocols.
    assert code(wire.post("/v2/repository/models/iris/unload")) == 403
    with listening(ms.asgi(manager, management=True, token="secret")) as managed:
        assert code(managed.post("/v2/repository/models/iris/unload")) == 401
