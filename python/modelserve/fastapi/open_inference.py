"""The Open Inference Protocol with Triton's extensions: /v2."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .operations import COMMON_ERRORS, MANAGEMENT_ERRORS, ROW, WIDTH, Operation

Parameters = dict[str, Any]


class InferInput(BaseModel):
    """A tensor that goes in."""

    name: str
    shape: list[int]
    datatype: str = Field(description="BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64, BYTES.")
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, description="Row-major, flat or nested.")


class RequestedOutput(BaseModel):
    """A tensor that is asked for."""

    name: str
    parameters: Parameters | None = None


class InferRequest(BaseModel):
    """Tensors by name."""

    id: str | None = Field(None, description="Echoed in the answer.")
    inputs: list[InferInput] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = Field(None, description="All by default.")
    parameters: Parameters | None = Field(
        None, description="`timeout` (microseconds) and `priority` (1 is the highest)."
    )


class InferOutput(BaseModel):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, description="Row-major and flat.")


class InferResponse(BaseModel):
    """The answer, all by one version."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server runs."""

    live: bool


class Ready(BaseModel):
    """Whether the server can answer."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model can answer."""

    name: str
    ready: bool
    error: str | None = None


class TensorMetadata(BaseModel):
    """A tensor of the signature; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's signature."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(BaseModel):
    """A model's configuration as Triton shows it."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class ModelStatistics(BaseModel):
    """Counts and times of a version."""

    name: str
    version: str
    inference_count: int = Field(description="Rows answered.")
    execution_count: int = Field(description="Runs of the model.")
    inference_stats: dict[str, Any]


class Statistics(BaseModel):
    """Counts and times of versions."""

    model_stats: list[ModelStatistics]


class IndexRequest(BaseModel):
    """Which versions are listed."""

    ready: bool = Field(False, description="Only those that can answer.")


class IndexEntry(BaseModel):
    """A version and its state."""

    name: str
    version: str
    state: str = Field(description="READY, LOADING, UNLOADING or UNAVAILABLE.")
    reason: str


class ChangeRequest(BaseModel):
    """Parameters of a change; there are none that have an effect."""

    parameters: Parameters | None = None


class V2Error(BaseModel):
    """Why a request was not answered."""

    error: str


_TAG = "Open Inference Protocol"
_INFER_EXAMPLES = {
    "one row": {
        "inputs": [{"name": "X", "shape": [1, WIDTH], "datatype": "FP32", "data": ROW}],
    }
}


def _get(path: str, summary: str, response: Any, not_ready: Any = None) -> Operation:
    other = {503: not_ready} if not_ready else {}
    return Operation(
        "GET", path, summary, _TAG, V2Error, COMMON_ERRORS, response=response, responses=other
    )


def _of_model(version: str, of: str) -> tuple[Operation, ...]:
    path = f"/v2/models/{{model}}{version}"
    return (
        Operation(
            "POST",
            f"{path}/infer",
            f"Infer{of}",
            _TAG,
            V2Error,
            COMMON_ERRORS,
            request=InferRequest,
            response=InferResponse,
            examples=_INFER_EXAMPLES,
            predicts=True,
        ),
        _get(path, f"Signature{of}", ModelMetadata),
        _get(f"{path}/ready", f"Readiness{of}", ModelReady, ModelReady),
        _get(f"{path}/config", f"Configuration{of}", ModelConfig),
        _get(f"{path}/stats", f"Statistics{of}", Statistics),
    )


def _change(verb: str, summary: str) -> Operation:
    return Operation(
        "POST",
        f"/v2/repository/models/{{model}}/{verb}",
        summary,
        _TAG,
        V2Error,
        COMMON_ERRORS + MANAGEMENT_ERRORS,
        request=ChangeRequest,
        optional_body=True,
        management=True,
    )


OPERATIONS = (
    _get("/v2", "The server", ServerMetadata),
    _get("/v2/health/live", "Whether the server runs", Live),
    _get("/v2/health/ready", "Whether the server can answer", Ready, Ready),
    _get("/v2/models/stats", "Statistics of all models", Statistics),
    *_of_model("", ""),
    *_of_model("/versions/{version}", " of a version"),
    Operation(
        "POST",
        "/v2/repository/index",
        "Every version with its state",
        _TAG,
        V2Error,
        COMMON_ERRORS,
        request=IndexRequest,
        optional_body=True,
        response=list[IndexEntry],
    ),
    _change("load", "Load a model"),
    _change("unload", "Unload a model"),
)
