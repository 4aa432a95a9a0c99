//! Recording requests, and putting them to another model.

use crate::gil::{LONG, enter};
use crate::model::Model;
use crate::reports::class;
use modelserve::record::{Latencies, RecordOptions, RecordStatus, ReplayOptions, ReplayReport};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;

/// The options of `manager.record`.
pub(crate) fn record_options(sample: f64, max_bytes: Option<u64>) -> RecordOptions {
    let mut options = RecordOptions::default();
    options.sample = sample;
    if let Some(max_bytes) = max_bytes {
        options.max_bytes = max_bytes;
    }
    options
}

/// Puts the requests of a recording to a model and compares the answers with the recorded ones;
/// of several recorded models, `recorded_as` says which.
#[pyfunction]
#[pyo3(signature = (path, model, *, tolerance=1e-5, recorded_as=None))]
pub(crate) fn replay(
    py: Python<'_>,
    path: PathBuf,
    model: &Model,
    tolerance: f64,
    recorded_as: Option<String>,
) -> PyResult<Py<PyAny>> {
    let mut options = ReplayOptions::default();
    options.tolerance = tolerance;
    options.model = recorded_as;
    let model = model.shared();
    let report = enter(py, LONG, || modelserve::record::replay(&path, &*model, &options))?;
    replay_out(py, &report)
}

/// How a recording stands.
pub(crate) fn status_out(py: Python<'_>, status: &RecordStatus) -> PyResult<Py<PyAny>> {
    let figures = PyDict::new(py);
    figures.set_item("written", status.written)?;
    figures.set_item("dropped", status.dropped)?;
    figures.set_item("bytes", status.bytes)?;
    figures.set_item("ended", status.ended.as_ref().map(ToString::to_string))?;
    Ok(class(py, "Report")?.call1((figures,))?.unbind())
}

fn replay_out(py: Python<'_>, report: &ReplayReport) -> PyResult<Py<PyAny>> {
    let latencies = |l: &Latencies| -> PyResult<_> {
        let figures = PyDict::new(py);
        for (name, took) in [("p50", l.p50), ("p90", l.p90), ("p99", l.p99), ("max", l.max)] {
            figures.set_item(format!("{name}_ms"), took.as_nanos() as f64 / 1e6)?;
        }
        Ok(figures)
    };
    let worst = report.worst.as_ref().map(|worst| -> PyResult<_> {
        let figures = PyDict::new(py);
        figures.set_item("line", worst.line)?;
        figures.set_item("entry", &worst.entry)?;
        figures.set_item("old", &worst.old)?;
        figures.set_item("new", &worst.new)?;
        Ok(figures)
    });
    let figures = PyDict::new(py);
    figures.set_item("requests", report.requests)?;
    figures.set_item("disagreements", report.disagreements)?;
    figures.set_item("failures", report.failures)?;
    figures.set_item("malformed", report.malformed)?;
    figures.set_item("truncated", report.truncated)?;
    figures.set_item("max_difference", report.max_difference)?;
    figures.set_item("worst", worst.transpose()?)?;
    figures.set_item("old", latencies(&report.old)?)?;
    figures.set_item("new", latencies(&report.new)?)?;
    Ok(class(py, "Report")?.call1((figures, report.to_string()))?.unbind())
}
