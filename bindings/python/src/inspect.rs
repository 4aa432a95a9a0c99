//! Looking at a model file without loading it.

use crate::error::OrRaise;
use crate::gil::{LONG, enter};
use crate::options::{Source, load_options};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What a model file holds, and everything that keeps it from being loaded, from a path or from
/// bytes. Works for files that cannot be loaded, and asks nothing of the model. `options` are those
/// it would be loaded with.
#[pyfunction]
#[pyo3(signature = (source, **options))]
pub(crate) fn inspect(
    py: Python<'_>,
    source: Source,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let options = load_options(options)?;
    let found = enter(py, LONG, || match source {
        Source::Path(path) => modelserve::inspect_with(path, &options),
        Source::Bytes(bytes) => modelserve::inspect_bytes(bytes, &options),
    })?;
    let told = py.import("json")?.call_method1("loads", (found.to_json().or_raise(py)?,))?;
    let made = py.import("modelserve.inspection")?.getattr("_made")?;
    Ok(made.call1((told, found.to_string()))?.unbind())
}
