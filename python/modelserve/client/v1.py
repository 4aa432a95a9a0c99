"""TensorFlow Serving's REST interface: arrays to JSON and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, NotFoundError, NotReadyError
from .exchange import Call, Response
from .v2 import text_or_bytes


def path(model: str, version: int | None, label: str | None = None) -> str:
    """The path of a model, or of one of its versions."""
    found = f"/v1/models/{quote(model, safe='')}"
    if version is not None:
        return f"{found}/versions/{version}"
    return found if label is None else f"{found}/labels/{quote(label, safe='')}"


def predict(
    model: str,
    version: int | None,
    label: str | None,
    inputs: NDArray[Any] | Mapping[str, NDArray[Any]],
) -> Call:
    """A request for predictions: rows for a bare array, columns for arrays by name."""
    document = (
        {"inputs": {name: array.tolist() for name, array in inputs.items()}}
        if isinstance(inputs, Mapping)
        else {"instances": inputs.tolist()}
    )
    headers = {"Content-Type": "application/json"}
    where = path(model, version, label) + ":predict"
    return Call("POST", where, headers, json.dumps(document, default=_in_json).encode())


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise InvalidInputError(
        f"TensorFlow Serving's interface carries no {type(value).__name__}: {value!r}"
    )


def outputs(response: Response, wanted: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The outputs by name, or those that are wanted.

    The protocol does not name the output of a model that has one: it is called what is wanted, or
    else `output`. Raises `NotReadyError` for an answer that is not the protocol's, and
    `NotFoundError` for a wanted output that it does not have.
    """
    try:
        document = response.json(_bytes)
        named = document["outputs"] if "outputs" in document else _by_row(document)
        if not isinstance(named, dict):
            single = wanted is not None and len(wanted) == 1
            named = {wanted[0] if wanted and single else "output": named}
        found = {name: _array(values) for name, values in named.items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as e:
        raise NotReadyError(f"the server's answer is not of TensorFlow Serving's: {e!r}") from e
    if wanted is None:
        return found
    if missing := [name for name in wanted if name not in found]:
        raise NotFoundError(
            f"the model answered the outputs {', '.join(found)}, not {', '.join(missing)}"
        )
    return {name: found[name] for name in wanted}


def _by_row(document: dict[str, Any]) -> Any:
    """Columns by name, or the values of the only output."""
    rows = document["predictions"]
    if rows and isinstance(rows[0], dict):
        return {name: [row[name] for row in rows] for name in rows[0]}
    return rows


def _bytes(found: dict[str, Any]) -> Any:
    """What an object {"b64": ...} stands for; others as they are."""
    if found.keys() == {"b64"} and isinstance(found["b64"], str):
        return text_or_bytes(base64.b64decode(found["b64"], validate=True))
    return found


def _array(values: Any) -> NDArray[Any]:
    try:
        array = np.array(values)
    except UnicodeDecodeError:
        return np.array(values, object)
    # As objects: NumPy's own texts lose what is zero at their end.
    return np.array(values, object) if array.dtype.kind in "US" else array


def available(response: Response) -> bool:
    """Whether the status of a model has a version that can be asked."""
    try:
        states = [one["state"] for one in response.json()["model_version_status"]]
    except (KeyError, TypeError, ValueError):
        return False
    return "AVAILABLE" in states
