//! `ModelManager`: named models behind one object.

use crate::error::OrRaise;
use crate::gil::{LONG, enter};
use crate::info::{Info, Stats};
use crate::model::Model;
use crate::options::{Source, load_options};
use crate::prediction::{Prediction, Predictions};
use modelserve::{ManagerOptions, ReloadOptions};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Loads, serves, reloads and unloads models by name. May be used from any number of threads at
/// once; a reload never disturbs predictions.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct ModelManager(modelserve::ModelManager);

#[pymethods]
impl ModelManager {
    #[new]
    #[pyo3(signature = (*, threads=0))]
    fn new(py: Python<'_>, threads: usize) -> PyResult<Self> {
        enter(py, LONG, || Ok(modelserve::ModelManager::new(ManagerOptions { threads })))
            .map(ModelManager)
    }

    /// Loads a model from a path or from bytes and serves it as `name`.
    #[pyo3(signature = (name, source, **options))]
    fn load(
        &self,
        py: Python<'_>,
        name: &str,
        source: Source,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Model> {
        let options = load_options(options)?;
        let handle = enter(py, LONG, || match source {
            Source::Path(path) => self.0.load(name, path, &options),
            Source::Bytes(bytes) => self.0.load_bytes(name, bytes, &options),
        })?;
        Ok(Model::managed(handle))
    }

    /// Replaces a model by a new version: from the same path again, another one, or bytes. The
    /// old version serves until the new one is ready, and goes on if it cannot be loaded.
    #[pyo3(signature = (name, source=None, *, allow_signature_change=false, **options))]
    fn reload(
        &self,
        py: Python<'_>,
        name: &str,
        source: Option<Source>,
        allow_signature_change: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Info> {
        let load = match options {
            Some(given) if !given.is_empty() => Some(load_options(Some(given))?),
            _ => None,
        };
        let options = ReloadOptions { load, allow_signature_change };
        let info = enter(py, LONG, || match source {
            Some(Source::Bytes(bytes)) => self.0.reload_bytes(name, bytes, &options),
            Some(Source::Path(path)) => self.0.reload(name, Some(&path), &options),
            None => self.0.reload(name, None, &options),
        })?;
        Ok(Info(info))
    }

    /// Stops serving a model; predictions under way finish.
    fn unload(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        enter(py, LONG, || self.0.unload(name))
    }

    /// The model served as `name`, following reloads.
    fn model(&self, py: Python<'_>, name: &str) -> PyResult<Model> {
        Ok(Model::managed(self.0.model(name).or_raise(py)?))
    }

    /// The names of all models, sorted.
    fn models(&self) -> Vec<String> {
        self.0.models()
    }

    /// Predicts one row with the model `name`.
    fn predict(&self, name: &str, row: &Bound<'_, PyAny>) -> PyResult<Prediction> {
        self.model(row.py(), name)?.predict(row)
    }

    /// Predicts many rows at once with the model `name`.
    fn predict_batch(&self, name: &str, rows: &Bound<'_, PyAny>) -> PyResult<Predictions> {
        self.model(rows.py(), name)?.predict_batch(rows)
    }

    /// The probabilities `[rows, classes]` of many rows by the model `name`.
    fn predict_proba(&self, name: &str, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.model(rows.py(), name)?.predict_proba(rows)
    }

    /// Runs the model `name` on named inputs; all outputs, or the wanted ones, by name.
    #[pyo3(signature = (name, inputs, outputs=None))]
    fn run(
        &self,
        py: Python<'_>,
        name: &str,
        inputs: &Bound<'_, PyDict>,
        outputs: Option<Vec<String>>,
    ) -> PyResult<Py<PyAny>> {
        self.model(py, name)?.run(py, inputs, outputs)
    }

    /// What is known of the version of `name` serving now.
    fn info(&self, py: Python<'_>, name: &str) -> PyResult<Info> {
        Ok(Info(self.0.info(name).or_raise(py)?))
    }

    /// Counts and latencies of `name` by version.
    fn stats(&self, py: Python<'_>, name: &str) -> PyResult<Stats> {
        Ok(Stats(self.0.stats(name).or_raise(py)?))
    }

    /// All counters in Prometheus' text format.
    fn metrics_text(&self) -> String {
        self.0.metrics_text()
    }

    /// Seconds since the manager was made.
    #[getter]
    fn uptime(&self) -> f64 {
        self.0.uptime().as_secs_f64()
    }

    fn __repr__(&self) -> String {
        format!(
            "<modelserve.ModelManager of {} models: {}>",
            self.0.models().len(),
            self.0.models().join(", ")
        )
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a ModelManager cannot be pickled: make one in each process that needs it",
        ))
    }
}
