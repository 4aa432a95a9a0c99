"""TensorFlow Serving's REST interface: arrays to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..errors import NotReadyError
from .exchange import Call, Response


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
    return Call("POST", where, headers, json.dumps(document).encode())


def outputs(response: Response) -> dict[str, NDArray[Any]]:
    """The outputs by name. The protocol does not name the output of a model that has one:
    that is `output`.

    Raises `NotReadyError` for an answer that is not the protocol's.
    """
    try:
        document = json.loads(response.body)
        if "outputs" in document:
            found = document["outputs"]
            if not isinstance(found, dict):
                found = {"output": found}
        else:
            rows = document["predictions"]
            if rows and isinstance(rows[0], dict):
                found = {name: [row[name] for row in rows] for name in rows[0]}
            else:
                found = {"output": rows}
        return {name: _array(values) for name, values in found.items()}
    except (KeyError, TypeError, ValueError) as e:
        raise NotReadyError(f"the server's answer is not of TensorFlow Serving's: {e!r}") from e


def _array(values: Any) -> NDArray[Any]:
    array = np.array(values)
    return array.astype(object) if array.dtype.kind == "U" else array


def available(response: Response) -> bool:
    """Whether the status of a model has a version that can be asked."""
    try:
        states = [one["state"] for one in json.loads(response.body)["model_version_status"]]
    except (KeyError, TypeError, ValueError):
        return False
    return "AVAILABLE" in states
