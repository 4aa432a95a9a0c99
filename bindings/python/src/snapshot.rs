//! `with manager.pin(…) as snap`: one consistent set of versions.

use crate::error::{OrRaise, raise};
use crate::gil::{LONG, enter};
use crate::model::Model;
use crate::prediction::{Prediction, Predictions};
use modelserve::ErrorKind;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One version of each of several models, all serving at one moment. They stay loaded and keep
/// answering until the snapshot is closed. A context manager.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Snapshot(Mutex<Option<modelserve::Snapshot>>);

impl Snapshot {
    pub(crate) fn new(snapshot: modelserve::Snapshot) -> Snapshot {
        Snapshot(Mutex::new(Some(snapshot)))
    }

    fn held(&self, py: Python<'_>) -> PyResult<modelserve::Snapshot> {
        // Held for a clone only, never while Python runs.
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        held.ok_or_else(|| {
            raise(py, ErrorKind::NotReady, "the snapshot is closed: take another with manager.pin")
        })
    }
}

#[pymethods]
impl Snapshot {
    /// The pinned model of that name.
    fn model(&self, py: Python<'_>, name: &str) -> PyResult<Model> {
        Ok(Model::managed(self.held(py)?.model(name).or_raise(py)?.clone()))
    }

    /// The versions by model.
    #[getter]
    fn versions(&self, py: Python<'_>) -> PyResult<BTreeMap<String, u64>> {
        let held = self.held(py)?;
        held.models().iter().map(|m| Ok((m.name().into(), m.version().or_raise(py)?))).collect()
    }

    /// Predicts one row with the pinned model `name`.
    #[pyo3(signature = (name, row, **asked))]
    fn predict(
        &self,
        name: &str,
        row: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Prediction> {
        self.model(row.py(), name)?.predict(row, asked)
    }

    /// Predicts many rows at once with the pinned model `name`.
    #[pyo3(signature = (name, rows, **asked))]
    fn predict_batch(
        &self,
        name: &str,
        rows: &Bound<'_, PyAny>,
        asked: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Predictions> {
        self.model(rows.py(), name)?.predict_batch(rows, asked)
    }

    /// Lets the versions go.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last lease on a version frees its memory.
        enter(py, LONG, || {
            drop(held);
            Ok(())
        })
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.versions(py) {
            Ok(versions) => {
                let all: Vec<String> =
                    versions.iter().map(|(name, v)| format!("{name} version {v}")).collect();
                format!("<modelserve.Snapshot of {}>", all.join(", "))
            }
            Err(_) => "<modelserve.Snapshot, closed>".to_string(),
        }
    }
}
