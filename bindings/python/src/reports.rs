//! Figures and states as the classes of `modelserve.reports`.

use crate::array::{outputs_out, tensor_out, value_out};
use crate::error::OrRaise;
use crate::prediction::{Prediction, Predictions};
use modelserve::policy::breaker::BreakerSnapshot;
use modelserve::policy::cache::CacheStats;
use modelserve::{
    Features, GateReport, MemoryUse, RefreshReport, Reply, Request, VersionStatus, WorstRow,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::fmt::Display;
use std::time::Duration;

/// `made!(py, "Class", { "field": value, … })`: an object of `modelserve.reports`.
macro_rules! made {
    ($py:expr, $class:literal, { $($name:literal: $value:expr),+ $(,)? }) => {{
        let fields = pyo3::types::PyDict::new($py);
        $(fields.set_item($name, $value)?;)+
        $crate::reports::class($py, $class)?.call((), Some(&fields))
    }};
}
pub(crate) use made;

/// A class of `modelserve.reports`.
pub(crate) fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("modelserve.reports")?.getattr(name)
}

/// A report that knows itself as JSON and prints itself.
pub(crate) fn report(
    py: Python<'_>,
    json: modelserve::Result<String>,
    printed: &impl Display,
) -> PyResult<Py<PyAny>> {
    let json = json.or_raise(py)?;
    let figures = py.import("json")?.call_method1("loads", (json,))?;
    Ok(class(py, "Report")?.call1((figures, printed.to_string()))?.unbind())
}

pub(crate) fn cache_out(py: Python<'_>, stats: &CacheStats) -> PyResult<Py<PyAny>> {
    let figures = PyDict::new(py);
    figures.set_item("hits", stats.hits)?;
    figures.set_item("misses", stats.misses)?;
    figures.set_item("shared", stats.shared)?;
    figures.set_item("inserts", stats.inserts)?;
    figures.set_item("evictions", stats.evictions)?;
    figures.set_item("entries", stats.entries)?;
    figures.set_item("bytes", stats.bytes)?;
    Ok(class(py, "Report")?.call1((figures,))?.unbind())
}

pub(crate) fn circuit_out(py: Python<'_>, circuit: &BreakerSnapshot) -> PyResult<Py<PyAny>> {
    let figures = PyDict::new(py);
    figures.set_item("state", circuit.state.name())?;
    figures.set_item("calls", circuit.calls)?;
    figures.set_item("failures", circuit.failures)?;
    figures.set_item("slow", circuit.slow)?;
    figures.set_item("openings", circuit.openings)?;
    figures.set_item("refused", circuit.refused)?;
    figures.set_item("retry_in", circuit.retry_in.map(|d| d.as_secs_f64()))?;
    Ok(class(py, "Report")?.call1((figures,))?.unbind())
}

pub(crate) fn refresh_out(py: Python<'_>, refresh: RefreshReport) -> PyResult<Py<PyAny>> {
    let figures = PyDict::new(py);
    figures.set_item("loaded", refresh.loaded)?;
    figures.set_item("unloaded", refresh.unloaded)?;
    figures.set_item("failed", refresh.failed)?;
    figures.set_item("ignored", refresh.ignored)?;
    figures.set_item("changed", refresh.changed)?;
    figures.set_item("error", refresh.error)?;
    Ok(class(py, "Report")?.call1((figures,))?.unbind())
}

pub(crate) fn status_out<'py>(
    py: Python<'py>,
    status: VersionStatus,
) -> PyResult<Bound<'py, PyAny>> {
    made!(py, "VersionStatus", {
        "version": status.version,
        "state": status.state.name(),
        "error": status.error.map(|kind| kind.name()),
        "message": status.message,
        "since": status.since,
        "serving": status.serving,
        "labels": status.labels.iter().map(|l| &**l).collect::<Vec<_>>(),
    })
}

pub(crate) fn memory_out<'py>(py: Python<'py>, held: MemoryUse) -> PyResult<Bound<'py, PyAny>> {
    made!(py, "MemoryUse", {
        "model": held.model,
        "version": held.version,
        "weights": held.weights,
        "packed": held.packed,
        "scratch": held.scratch,
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

pub(crate) fn gate_out<'py>(py: Python<'py>, gate: &GateReport) -> PyResult<Bound<'py, PyAny>> {
    made!(py, "GateReport", {
        "accepted": gate.accepted,
        "version": gate.version,
        "serving": gate.serving,
        "golden": gate.golden,
        "golden_failed": gate.golden_failed,
        "replayed": gate.replayed,
        "failed": gate.failed,
        "rows": gate.rows,
        "disagreed": gate.disagreed,
        "max_drift": gate.max_drift,
        "latency_ratio": gate.latency_ratio(),
        "p50_serving_ms": millis(gate.p50_serving),
        "p50_candidate_ms": millis(gate.p50_candidate),
        "reasons": &gate.reasons,
        "worst": gate.worst.as_ref().map(|worst| worst_out(py, worst)).transpose()?,
        "printed": gate.to_string(),
    })
}

fn worst_out<'py>(py: Python<'py>, worst: &WorstRow) -> PyResult<Bound<'py, PyAny>> {
    made!(py, "WorstRow", {
        "row": worst.row,
        "request": request_out(py, &worst.request)?,
        "serving": reply_out(py, &worst.serving)?,
        "candidate": reply_out(py, &worst.candidate)?,
    })
}

fn reply_out(py: Python<'_>, reply: &Reply) -> PyResult<Py<PyAny>> {
    match reply.clone() {
        Reply::Row(prediction) => Ok(Py::new(py, Prediction::new(*prediction))?.into_any()),
        Reply::Batch(predictions) => Ok(Py::new(py, Predictions::new(*predictions))?.into_any()),
        Reply::Tensors(outputs) => outputs_out(py, outputs),
        _ => Ok(py.None()),
    }
}

/// The inputs of a request: an array, a list of arrays, or a dict by name.
fn request_out(py: Python<'_>, request: &Request<'_>) -> PyResult<Py<PyAny>> {
    let features = match request.clone() {
        Request::Row(features) | Request::Batch(features) => features.into_owned().or_raise(py)?,
        Request::Run { inputs, .. } => return outputs_out(py, inputs),
        _ => return Ok(py.None()),
    };
    match features {
        Features::Tensor(tensor) => tensor_out(py, tensor),
        Features::Columns(columns) => {
            outputs_out(py, columns.into_iter().map(|(name, t)| (name, t.into())).collect())
        }
        Features::Inputs(inputs) => {
            let all: PyResult<Vec<_>> =
                inputs.into_iter().map(|t| value_out(py, t.into())).collect();
            Ok(PyList::new(py, all?)?.into_any().unbind())
        }
        _ => Ok(py.None()),
    }
}
