"""The Open Inference Protocol with binary tensors: arrays to bytes and back."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..casting import cast
from ..errors import InvalidInputError, NotReadyError
from .exchange import Call, Response

#: NumPy's types by the protocol's names.
_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH = "Inference-Header-Content-Length"


def path(model: str, version: int | None) -> str:
    """The path of a model, or of one of its versions."""
    found = f"/v2/models/{quote(model, safe='')}"
    return found if version is None else f"{found}/versions/{version}"


def infer(
    model: str,
    version: int | None,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Iterable[str] | None,
    parameters: Mapping[str, Any],
) -> Call:
    """A request for inference; arrays go as bytes, and answers are asked for as bytes."""
    described, blobs = [], []
    for name, array in inputs.items():
        datatype, blob = _encode(name, array)
        blobs.append(blob)
        described.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(blob)},
            }
        )
    document: dict[str, Any] = {
        "inputs": described,
        "parameters": {**parameters, "binary_data_output": True},
    }
    if outputs is not None:
        document["outputs"] = [
            {"name": name, "parameters": {"binary_data": True}} for name in outputs
        ]
    header = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", _LENGTH: str(len(header))}
    return Call("POST", path(model, version) + "/infer", headers, b"".join([header, *blobs]))


def _encode(name: str, array: NDArray[Any]) -> tuple[str, bytes]:
    if array.dtype.kind in "OUS":
        parts = []
        for item in cast(array, np.dtype(object), f"input '{name}'").ravel():
            text = item if isinstance(item, bytes) else item.encode()
            parts.append(struct.pack("<I", len(text)) + text)
        return "BYTES", b"".join(parts)
    dtype = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
    datatype = _NAMES.get(dtype)
    if datatype is None:
        raise InvalidInputError(f"input '{name}': the protocol has no type for {array.dtype}")
    return datatype, np.ascontiguousarray(array, dtype).tobytes()


def outputs(response: Response) -> tuple[dict[str, NDArray[Any]], str | None]:
    """The outputs by name and the model's version, as the server writes it.

    Raises `NotReadyError` for an answer that is not the protocol's.
    """
    try:
        length = response.headers.get(_LENGTH.lower())
        end = len(response.body) if length is None else int(length)
        document = Response(200, {}, response.body[:end]).json()
        found, at = {}, end
        for output in document["outputs"]:
            shape, datatype = output["shape"], output["datatype"]
            # Optional fields are left out or null, as servers like it.
            size = (output.get("parameters") or {}).get("binary_data_size")
            if size is None:
                array = _from_json(output["data"], datatype)
            else:
                array = _decode(response.body[at : at + size], datatype)
                at += size
            found[output["name"]] = array.reshape(shape)
        version = document.get("model_version")
        return found, None if version is None else str(version)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error) as e:
        raise NotReadyError(
            f"the server's answer is not of the Open Inference Protocol: {e!r}"
        ) from e


def _from_json(data: Sequence[Any], datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(data, object)
    dtype, found = _DTYPES[datatype], np.array(data)
    if found.dtype.kind == "U":
        # NaN and the like, which JSON has no numbers for.
        return found.astype(dtype)
    if found.dtype.kind == "f" and dtype.kind in "iu":
        # Integers that no integer type of NumPy's holds all of.
        found = np.array(data, object)
    return cast(found, dtype, "an output")


def text_or_bytes(value: bytes) -> str | bytes:
    """A value of `BYTES`: text where it is UTF-8, as it is elsewhere (images, say)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _decode(blob: bytes, datatype: str) -> NDArray[Any]:
    if datatype != "BYTES":
        # A copy: what is answered can be written to.
        return np.frombuffer(blob, _DTYPES[datatype]).copy()
    texts, at = [], 0
    while at < len(blob):
        (length,) = struct.unpack_from("<I", blob, at)
        if at + 4 + length > len(blob):
            raise ValueError(f"a text of {length} bytes ends beyond its tensor")
        texts.append(text_or_bytes(blob[at + 4 : at + 4 + length]))
        at += 4 + length
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


def first_input(response: Response) -> tuple[str, np.dtype[Any] | None]:
    """Name and type of the only input of a model, from its metadata; None for a type that is not
    the protocol's.

    Raises `InvalidInputError` for a model with several, and where the metadata name none.
    """
    try:
        document = response.json()
        # Servers that do not know, say null or nothing.
        inputs = (document.get("inputs") if "name" in document else document["inputs"]) or []
        names = [str(one["name"]) for one in inputs]
        if len(inputs) == 1:
            return names[0], _datatype(inputs[0].get("datatype"))
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise NotReadyError(f"the server's metadata are not of the protocol: {e!r}") from e
    if not names:
        raise InvalidInputError(
            "the server does not say what the model's inputs are: give a dict of arrays by name"
        )
    raise InvalidInputError(
        f"the model has the inputs {', '.join(names)}: give a dict of arrays by name"
    )


def _datatype(name: Any) -> np.dtype[Any] | None:
    return np.dtype(object) if name == "BYTES" else _DTYPES.get(name)
