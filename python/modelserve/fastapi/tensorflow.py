"""TensorFlow Serving's REST interface: /v1."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .operations import COMMON_ERRORS, ROW, Operation


class TfPredictRequest(BaseModel):
    """Rows (`instances`) or whole tensors (`inputs`); exactly one of the two."""

    instances: list[Any] | None = Field(
        None, description="A row each: its values, or an object of them by input."
    )
    inputs: Any = Field(None, description="A tensor, or an object of tensors by input.")
    signature_name: str | None = Field(None, description="`serving_default`.")


class TfPredictResponse(BaseModel):
    """`predictions` answer `instances`, `outputs` answer `inputs`."""

    predictions: list[Any] | None = Field(
        None, description="A value a row; an object a row for models of several outputs."
    )
    outputs: Any = Field(None, description="A tensor, or an object of tensors by output.")


class TfExamplesRequest(BaseModel):
    """Rows as features by name."""

    examples: list[dict[str, Any]] = Field(min_length=1, description="Features by name.")
    context: dict[str, Any] | None = Field(None, description="Features that all rows share.")
    signature_name: str | None = Field(None, description="`serving_default`.")


class TfClassifyResponse(BaseModel):
    """For each row a list of pairs, a class's label and its score."""

    results: list[list[list[str | float]]]


class TfRegressResponse(BaseModel):
    """A value a row."""

    results: list[float]


class TfVersionError(BaseModel):
    """What a version's state is due to."""

    error_code: str
    error_message: str


class TfVersionStatus(BaseModel):
    """A version and its state."""

    version: str
    state: str = Field(description="START, LOADING, AVAILABLE, UNLOADING or END.")
    status: TfVersionError


class TfStatusResponse(BaseModel):
    """Versions, the newest first."""

    model_version_status: list[TfVersionStatus]


class TfModelSpec(BaseModel):
    """Whom the metadata are about."""

    name: str
    signature_name: str
    version: str


class TfMetadataResponse(BaseModel):
    """The model's signature, nested as the original nests it."""

    model_spec: TfModelSpec
    metadata: dict[str, Any]


class TfError(BaseModel):
    """Why a request was not answered."""

    error: str


_TAG = "TensorFlow Serving"
_ERRORS = (*COMMON_ERRORS, 429)
_TARGETS = (
    ("", ""),
    ("/versions/{version}", " of a version"),
    ("/labels/{label}", " of a label"),
)


def _post(
    verb: str, summary: str, request: Any, response: Any, examples: Any
) -> tuple[Operation, ...]:
    return tuple(
        Operation(
            "POST",
            f"/v1/models/{{model}}{target}:{verb}",
            summary + of,
            _TAG,
            TfError,
            _ERRORS,
            request=request,
            response=response,
            examples=examples,
            predicts=True,
        )
        for target, of in _TARGETS
    )


def _get(path: str, summary: str, response: Any) -> Operation:
    return Operation("GET", path, summary, _TAG, TfError, _ERRORS, response=response)


_EXAMPLES = {"one row": {"examples": [{"X": ROW}]}}

OPERATIONS = (
    *_post(
        "predict",
        "Predict",
        TfPredictRequest,
        TfPredictResponse,
        {"two rows": {"instances": [ROW, ROW]}, "one tensor": {"inputs": [ROW, ROW]}},
    ),
    *_post("classify", "Classify", TfExamplesRequest, TfClassifyResponse, _EXAMPLES),
    *_post("regress", "Regress", TfExamplesRequest, TfRegressResponse, _EXAMPLES),
    _get("/v1/models/{model}", "States of the versions", TfStatusResponse),
    _get("/v1/models/{model}/versions/{version}", "State of a version", TfStatusResponse),
    _get("/v1/models/{model}/metadata", "Signature", TfMetadataResponse),
    _get(
        "/v1/models/{model}/versions/{version}/metadata",
        "Signature of a version",
        TfMetadataResponse,
    ),
    _get("/v1/models/{model}/labels/{label}/metadata", "Signature of a label", TfMetadataResponse),
)
