//! Errors of the crate as the exceptions of `modelserve.errors`.

use modelserve::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// `modelserve.errors.BY_KIND`: kind name → exception class.
fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    CLASSES
        .get_or_try_init(py, || {
            let table = py.import("modelserve.errors")?.getattr("BY_KIND")?;
            Ok(table.cast_into::<PyDict>()?.unbind())
        })
        .map(|table| table.bind(py))
}

/// The exception for an error of the crate.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let raised = || -> PyResult<PyErr> {
        let class = classes(py)?.as_any().get_item(error.kind().name())?;
        let value = class.call1((error.to_string(),))?;
        value.setattr("model", error.model())?;
        value.setattr("remote_message", error.remote_text())?;
        Ok(PyErr::from_value(value))
    };
    raised().unwrap_or_else(|failed| failed)
}

/// The status of a kind of error in HTTP, as the reference server has it (docs/http.md); 500 for a
/// kind of no such name.
#[pyfunction]
pub(crate) fn http_status(kind: &str) -> u16 {
    let known = ErrorKind::ALL.into_iter().find(|known| known.name() == kind);
    known.map_or(500, |kind| kind.http().reference)
}

/// The exception of a kind with a message.
pub(crate) fn raise(py: Python<'_>, kind: ErrorKind, message: impl Into<String>) -> PyErr {
    exception(py, &Error::new(kind, message))
}

/// Results of the crate as results of Python.
pub(crate) trait OrRaise<T> {
    /// The value, or the error as an exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for modelserve::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| exception(py, &e))
    }
}
