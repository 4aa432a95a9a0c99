"""The routes of the reference server: /health, /predict, /predict/batch, /model/reload."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .operations import COMMON_ERRORS, MANAGEMENT_ERRORS, ROW, Operation

#: A label or a value; several of them for models of several targets. NaN is null.
Answer = float | str | list[float | str | None] | None


class PredictionRequest(BaseModel):
    """One row."""

    features: list[float] = Field(description="The values of the row, in the model's order.")
    request_id: str | None = Field(None, description="Echoed in the answer.")


class PredictionResponse(BaseModel):
    """The answer to one row."""

    prediction: Answer = Field(description="The label or value; several for several targets.")
    probability: float | None = Field(
        description="The largest class probability; null for models without."
    )
    model_version: str = Field(description="The version that answered.")
    latency_ms: float = Field(description="Time in the model, in milliseconds.")
    request_id: str | None


class BatchPredictionRequest(BaseModel):
    """Many rows."""

    instances: list[list[float]] = Field(min_length=1, description="The rows, all of one width.")
    request_id: str | None = Field(None, description="Echoed in the answer.")


class RowPrediction(BaseModel):
    """The answer to a row of a batch."""

    prediction: Answer
    probability: float | None


class BatchPredictionResponse(BaseModel):
    """The answers to many rows, all by one version."""

    predictions: list[RowPrediction]
    model_version: str = Field(description="The version that answered.")
    batch_size: int
    request_id: str | None


class HealthResponse(BaseModel):
    """Whether requests without a model's name can be answered."""

    status: str = Field(description="`healthy` or `unhealthy`.")
    model_loaded: bool
    uptime_seconds: float
    total_predictions: int = Field(description="Rows answered by the model so far.")


class ReloadResponse(BaseModel):
    """What serves after a reload."""

    status: str
    version: str = Field(description="The new version.")


class ErrorDetail(BaseModel):
    """Why a request was not answered."""

    detail: str


_TAG = "model server"
_MODEL_PATH = {
    "name": "model_path",
    "in": "query",
    "description": "A file or folder beneath the models' root; the model's own file by default.",
    "schema": {"type": "string"},
}

OPERATIONS = (
    Operation(
        "GET",
        "/health",
        "Whether the model is loaded",
        _TAG,
        ErrorDetail,
        (413, 415, 500),
        response=HealthResponse,
        responses={503: HealthResponse},
    ),
    Operation(
        "POST",
        "/predict",
        "Predict one row",
        _TAG,
        ErrorDetail,
        COMMON_ERRORS,
        request=PredictionRequest,
        response=PredictionResponse,
        examples={"one row": {"features": ROW, "request_id": "42"}},
        predicts=True,
    ),
    Operation(
        "POST",
        "/predict/batch",
        "Predict many rows",
        _TAG,
        ErrorDetail,
        COMMON_ERRORS,
        request=BatchPredictionRequest,
        response=BatchPredictionResponse,
        examples={"two rows": {"instances": [ROW, ROW]}},
        predicts=True,
    ),
    Operation(
        "POST",
        "/model/reload",
        "Load the next version",
        _TAG,
        ErrorDetail,
        COMMON_ERRORS + MANAGEMENT_ERRORS,
        response=ReloadResponse,
        parameters=(_MODEL_PATH,),
        management=True,
    ),
)
