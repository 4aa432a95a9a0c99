"""Metrics as text: /metrics, and the path that TensorFlow Serving has them at."""

from __future__ import annotations

from .operations import Operation
from .reference import ErrorDetail

OPERATIONS = tuple(
    Operation(
        "GET",
        path,
        summary,
        "metrics",
        ErrorDetail,
        (413, 415, 500),
        texts=texts,
    )
    for path, summary, texts in (
        ("/metrics", "Prometheus or OpenMetrics", ("text/plain", "application/openmetrics-text")),
        ("/monitoring/prometheus/metrics", "Prometheus", ("text/plain",)),
    )
)
