//! What is known of a model, and what it has done.

use crate::options::options_out;
use crate::signature::Signature;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What is known of a loaded model.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Info(pub(crate) modelserve::ModelInfo);

#[pymethods]
impl Info {
    /// The name it is served under; None without a manager.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The version's number.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// The free text beside the version.
    #[getter]
    fn display_version(&self) -> Option<&str> {
        self.0.display_version.as_deref()
    }

    /// The file format: onnx or safetensors.
    #[getter]
    fn format(&self) -> &'static str {
        self.0.format.name()
    }

    /// What it takes and answers.
    #[getter]
    fn signature(&self) -> Signature {
        Signature(Arc::clone(&self.0.signature))
    }

    /// Bytes of weights, packed copies included.
    #[getter]
    fn weight_bytes(&self) -> u64 {
        self.0.weight_bytes
    }

    /// SHA-256 of the model file, in hexadecimal.
    #[getter]
    fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Where it was loaded from; None for bytes.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.0.path.clone()
    }

    /// The keyword arguments of `load` that it was loaded with, the version's number among them
    /// where a manager gave it.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options_out(py, &self.0.options)
    }

    /// When it was loaded.
    #[getter]
    fn loaded_at(&self) -> SystemTime {
        self.0.loaded_at
    }

    /// How long loading took, in milliseconds.
    #[getter]
    fn load_ms(&self) -> f64 {
        millis(self.0.load_duration)
    }

    /// What the file says of itself.
    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.0.metadata.clone()
    }

    /// Whether predictions run as one row program (the tabular fast path).
    #[getter]
    fn fast_path(&self) -> bool {
        self.0.fast_path
    }

    fn __repr__(&self) -> String {
        let name = self.0.name.as_deref().map_or(String::new(), |n| format!("'{n}' "));
        format!(
            "<modelserve.Info {name}version {} ({}, {} bytes of weights): {}>",
            self.0.version,
            self.0.format.name(),
            self.0.weight_bytes,
            self.0.signature
        )
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// Counts and latencies of a model, by version.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Stats(pub(crate) modelserve::ModelStats);

#[pymethods]
impl Stats {
    /// The model's name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// By version, the newest last.
    #[getter]
    fn versions(&self) -> Vec<VersionStats> {
        self.0.versions.iter().cloned().map(VersionStats).collect()
    }

    fn __repr__(&self) -> String {
        format!("<modelserve.Stats '{}': {} versions>", self.0.name, self.0.versions.len())
    }
}

/// Counts and latencies of one version.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct VersionStats(modelserve::VersionStats);

#[pymethods]
impl VersionStats {
    /// The version's number.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// Calls answered or failed.
    #[getter]
    fn requests(&self) -> u64 {
        self.0.requests
    }

    /// Rows answered.
    #[getter]
    fn rows(&self) -> u64 {
        self.0.rows
    }

    /// Calls failed.
    #[getter]
    fn errors(&self) -> u64 {
        self.0.errors
    }

    /// The last failure's message.
    #[getter]
    fn last_error(&self) -> Option<&str> {
        self.0.last_error.as_deref()
    }

    /// Time spent in all calls, in milliseconds.
    #[getter]
    fn total_ms(&self) -> f64 {
        millis(self.0.total)
    }

    /// Half of the calls took no longer, in milliseconds.
    #[getter]
    fn p50_ms(&self) -> f64 {
        millis(self.0.p50)
    }

    /// 95 of 100 calls took no longer, in milliseconds.
    #[getter]
    fn p95_ms(&self) -> f64 {
        millis(self.0.p95)
    }

    /// 99 of 100 calls took no longer, in milliseconds.
    #[getter]
    fn p99_ms(&self) -> f64 {
        millis(self.0.p99)
    }

    /// Whether new calls go to this version.
    #[getter]
    fn serving(&self) -> bool {
        self.0.serving
    }

    fn __repr__(&self) -> String {
        format!(
            "<modelserve.VersionStats version {}: {} requests, {} rows, {} errors>",
            self.0.version, self.0.requests, self.0.rows, self.0.errors
        )
    }
}
