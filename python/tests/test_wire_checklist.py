"""What clients of TensorFlow Serving's REST interface rely on, a test for each point.

The points that follow are in the other files of this name: replies, serving and process.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from conftest import Case
from wire_client import Wire
from wire_models import listening, no_versions, served

import modelserve as ms


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with served() as (wire, _):
        yield wire


POST = (
    r"(?i)/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
    r":(classify|regress|predict)"
)
GET = r"(?i)/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:\/(metadata))?"
MODELS = {"iris": {1, 2}, "half.two": {1}}
LABELS = {"stable", "st-able"}


def said_of(method: str, target: str) -> tuple[int, str | None]:
    """By the original's regular expressions: a status, and its message where that is an error.

    An empty message is an empty body.
    """
    malformed = 400, f"Malformed request: {method} {target}"
    if method not in ("POST", "GET"):
        return malformed
    found = re.fullmatch(POST if method == "POST" else GET, target, re.ASCII)
    if found is None:
        return malformed
    name, digits, label, tail = found.groups()
    name, label = unquote(name or ""), label and unquote(label)
    if digits and int(digits) > 2**63 - 1:
        return 400, ""
    if method == "POST" and tail not in ("classify", "regress", "predict"):
        return malformed
    if not name:
        return 400, "Missing model name in request."
    if method == "GET" and tail != "metadata":
        # A label is not looked at; 3 and 4 are known, though they have ended.
        if digits and int(digits) not in MODELS.get(name, ()):
            return 404, f"Could not find version {digits} of model {name}"
        return (200, None) if name in MODELS else (404, no_versions(name))
    if label and (name != "iris" or label not in LABELS):
        return 400, f"Unrecognized servable version label: {label}"
    if name not in MODELS or (digits and int(digits) not in MODELS[name]):
        which = f"Specific({name}, {digits})" if digits else f"Latest({name})"
        return 404, f"Servable not found for request: {which}"
    return 200, None


def regex_cases() -> Iterator[tuple[str, str]]:
    names = ["", "/iris", "/%69ris", "/half%2Etwo", "/half%20plus%3Atwo", "/a/b"]
    choices = ["", "/versions/1", "/VERSIONS/2", "/versions/9", "/versions/9223372036854775807"]
    choices += ["/versions/9223372036854775808", "/versions/99999999999999999999"]
    choices += ["/version/50", "/versions/HELLO", "/versions/", "/versions/1/labels/stable"]
    choices += [
        "/labels/stable",
        "/Labels/st%61ble",
        "/labels/st%2Dable",
        "/labels/X%20y",
        "/labels/",
    ]
    tails = ["", ":predict", ":PREDICT", ":classify", ":regress", ":predictx"]
    tails += ["/metadata", "/METADATA", "/"]
    for name, choice, tail in itertools.product(names, choices, tails):
        yield "POST", f"/v1/models{name}{choice}{tail}"
        yield "GET", f"/v1/models{name}{choice}{tail}"
    for front in ("/V1/Models", "/v1/model", "/v1/modelsx", "/v1/", "/v1//models"):
        yield "POST", f"{front}/iris:predict"
        yield "GET", f"{front}/iris"
    yield from (("PUT", "/v1/models/iris:predict"), ("DELETE", "/v1/models/iris"))


def test_01_every_regex_case_decoded_names_labels_and_int64_overflow(
    wire: Wire, iris: Case
) -> None:
    row = iris.expected["rows"][0]
    # A request's own Content-Type is not looked at.
    plain = {"Content-Type": "text/plain"}
    said = set()
    for method, target in regex_cases():
        status, message = said_of(method, target)
        body = {"examples": [{"X": row}]} if "ss" in target else {"instances": [row]}
        answer = wire.ask(method, target, body if method == "POST" else b"", plain)
        what = f"{method} {target}: {answer.body!r}"
        assert answer.headers["content-type"] == "application/json", what
        if message == "":
            assert (answer.status, answer.body) == (status, b""), what
        elif message is not None:
            assert answer.error == (status, message), what
        elif target.endswith(":regress"):
            # It came where it should: a classifier cannot answer that.
            assert answer.status == 400 and "tensorflow/serving/regress" in answer.error[1], what
        else:
            assert answer.status == 200, what
            if method == "POST":
                first = re.search("versions/1|labels|half", target, re.IGNORECASE)
                assert answer.headers["x-modelserve-version"] == ("1" if first else "2"), what
        said.add(message and re.split("[:.]| of ", message)[0])
    # There were cases of every kind.
    missing = {"Could not find any versions", "Could not find version 9"}
    refused = {"", "Malformed request", "Missing model name in request"}
    unknown = {"Servable not found for request", "Unrecognized servable version label"}
    assert said >= missing | refused | unknown | {None}
    # The dispatcher handles /v1/ only; a query is no part of the path.
    for target in ("/v1", "/v3/models/iris", "/", "/models/iris"):
        assert wire.ask("GET", target).status == 404
    assert wire.get("/v1/models/iris?verbose=1").status == 200
    # Other sites may ask where that is turned on.
    assert "access-control-allow-origin" not in wire.get("/v1/models/iris").headers
    with listening(ms.asgi(ms.ModelManager(), cors=True)) as open_:
        headers = open_.get("/v1/models/iris").headers
        allowed = [headers[f"access-control-allow-{k}"] for k in ("origin", "methods", "headers")]
        assert allowed == ["*", "POST, GET", "Content-Type"]
        for origin, status in (("https://a.example", 200), ("http://a", 200), ("null", 400)):
            asked = open_.ask("OPTIONS", "/v1/models/iris:predict", b"", {"Origin": origin})
            assert asked.status == status


def test_02_rows_columns_one_and_many_tensors_base64_and_bytes_outputs(wire: Wire) -> None:
    def good(model: str, body: object, expected: object) -> None:
        answer = wire.predict(model, body)
        assert (answer.status, answer.json) == (200, expected), (model, body)

    def bad(model: str, body: object, says: str) -> None:
        status, message = wire.predict(model, body).error
        assert status == 400 and says in message, (model, body, message)

    # One named input: values, or objects of that one key. The first element decides.
    good("pair", {"instances": [[1, 2], [3, 4.5]]}, {"predictions": [[1.0, 2.0], [3.0, 4.5]]})
    good("pair", {"instances": [{"a": [1, 2]}]}, {"predictions": [[1.0, 2.0]]})
    bad("pair", {"instances": [[1, 2], {"a": [1, 2]}]}, "Expecting value/list but got object at")
    bad("pair", {"instances": [{"a": [1, 2]}, [1, 2]]}, "Expecting object but got list at item 1")
    bad("pair", {"instances": [[1, 2], [1, 2, 3]]}, "Expecting tensor size: 2 but got: 3")
    # A column has its own shape.
    good("pair", {"inputs": [[1, 2]]}, {"outputs": [[1.0, 2.0]]})
    good("pair", {"inputs": {"a": [[1, 2]], "more": 1}}, {"outputs": [[1.0, 2.0]]})
    good("scalar", {"inputs": 1}, {"outputs": 1.0})
    # Many.
    rows = [{"a": [1, 2], "b": 7}, {"b": 8, "a": [3, 4]}]
    expected = [{"c": [1.0, 2.0], "d": 7}, {"c": [3.0, 4.0], "d": 8}]
    good("two", {"signature_name": "serving_default", "instances": rows}, {"predictions": expected})
    columns = {"a": [[1, 2], [3, 4]], "b": [7, 8], "more": {"x": [None]}}
    good("two", {"inputs": columns}, {"outputs": {"c": [[1.0, 2.0], [3.0, 4.0]], "d": [7, 8]}})
    bad("two", {"instances": [{"a": [1, 2]}]}, "keys must be equal to: a,b")
    bad("two", {"instances": [{"a": [1, 2], "b": 1, "z": 1}]}, "does not have named input: z")
    bad("two", {"inputs": {"b": [1]}}, "Missing named input: a in 'inputs' object.")
    # Rows need a first dimension that all outputs share; columns do not.
    inconsistent = "Tensor name: q has inconsistent batch size: 3 expecting: 2"
    bad("uneven", {"instances": [1]}, inconsistent)
    good("uneven", {"inputs": [1]}, {"outputs": {"p": [0, 1], "q": [0, 1, 2]}})

    # Base64 is an object of exactly that one key, and for strings only.
    good("text", {"instances": [{"b64": "YQ=="}, "ä\n"]}, {"predictions": ["a", "ä\n"]})
    good("word", {"inputs": {"b64": "YQ=="}}, {"outputs": "a"})
    good("text", {"inputs": [{"b64": "YQ=="}]}, {"outputs": ["a"]})
    row = {"s": "x", "u": {"b64": "aGVsbG8="}}
    good(
        "bytes", {"instances": [row]}, {"predictions": [{"t": "x", "v_bytes": {"b64": "aGVsbG8="}}]}
    )
    bad("text", {"inputs": ["x", {"b64": 1}]}, "not formatted correctly for base64 data")
    bad("text", {"inputs": [{"b64": "YQ==", "more": 1}]}, "not formatted correctly for base64")
    bad("text", {"instances": ["x", {"b64": "*"}]}, "Unable to base64 decode")
    bad("float", {"inputs": [{"b64": "YQ=="}]}, "Type: Object is not of expected type: float")

    # Which values an element type takes. int8, int16 and uint8 refuse what does not fit them, where
    # the original wraps it round, and uint16 is taken (docs/http.md).
    for name, takes, refuses in [
        ("int8", "[-128, 127]", "[128]"),
        ("int16", "[-32768, 32767]", "[32768]"),
        ("int32", "[-2147483648, 2147483647]", "[2147483648]"),
        ("int32", "[1]", "[1.5]"),
        ("uint8", "[0, 255]", "[256]"),
        ("uint16", "[0, 65535]", "[65536]"),
        ("int64", "[-9223372036854775808, 9007199254740993]", "[9223372036854775808]"),
        ("uint32", "[4294967295]", "[4294967296]"),
        ("uint64", "[18446744073709551615]", "[-1]"),
        ("bool", "[true, false]", "[1]"),
        ("string", '["a"]', "[1]"),
        ("float", "[1, 2.5, -300.0]", "[true]"),
        ("double", "[1, 0.1]", '["1"]'),
    ]:
        good(name, f'{{"inputs": {takes}}}', {"outputs": json.loads(takes)})
        bad(name, f'{{"inputs": {refuses}}}', "is not of expected type: ")
    # Reading stops behind the first value, which has to be an object.
    good("float", '{"instances": [1]} trailing { text', {"predictions": [1.0]})
    bad("float", "[1]", "JSON Value: [1] Is not object")


def shortest(x: np.floating[Any]) -> str:
    """As the original writes a number."""
    digits = 9 if isinstance(x, np.float32) else 17
    text = f"{x:.6g}"
    text = text if type(x)(text) == x else f"{x:.{digits}g}"
    return text if re.search("[.en]", text) else f"{text}.0"


NUMBERS = {
    "ordinary": [0.2, 1, -0.0, 9e6, 3e-5, 1 / 3, 16777217, 123456, 1234567, 0.1234567890123, 1e-37],
    "subnormal": [1e-45, -1e-40, 3e-39],
}
NUMBERS["ordinary"] += list(
    np.random.default_rng(1).standard_normal(60) * 10.0 ** np.arange(-30, 30)
)
DOUBLES = {"ordinary": [1e22, 1e-100, 1.7976931348623157e308], "subnormal": [5e-324, 1e-310]}


@pytest.mark.parametrize("part", NUMBERS)
def test_03_nan_and_infinity_in_and_out_and_the_form_of_numbers(wire: Wire, part: str) -> None:
    for model, kind, values in (
        ("float", np.float32, NUMBERS[part]),
        ("double", np.float64, NUMBERS[part] + DOUBLES[part]),
    ):
        tokens = ["NaN", "Infinity", "-Infinity", *map(repr, map(float, values))]
        for form, reply in (("instances", "predictions"), ("inputs", "outputs")):
            answer = wire.predict(model, f'{{"{form}": [{", ".join(tokens)}]}}')
            assert answer.status == 200
            # Bare tokens, which are no JSON, but which Python reads.
            got = answer.json[reply]
            assert np.isnan(got[0]) and got[1:3] == [np.inf, -np.inf]
            written = re.search(rb"\[([^]]*)\]", answer.body)
            assert written is not None
            expected = [*tokens[:3], *(shortest(kind(value)) for value in values)]
            assert written[1].decode().strip().split(", ") == expected
    status, message = wire.predict("float", '{"inputs": [1e999]}').error
    assert status == 400 and "Number too big to be stored in double." in message
