//! How an answer came about.

use pyo3::prelude::*;

/// How an answer came about: who answered, which way, and where the time went.
#[pyclass(frozen, eq, module = "modelserve")]
#[derive(PartialEq)]
pub(crate) struct Receipt(pub(crate) modelserve::Receipt);

#[pymethods]
impl Receipt {
    /// The model that answered; None without a manager.
    #[getter]
    fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The version that answered.
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    /// SHA-256 of that version's file, in hexadecimal.
    #[getter]
    fn digest(&self) -> Option<&str> {
        self.0.digest.as_deref()
    }

    /// Which way the answer came: stable, canary or fallback.
    #[getter]
    fn route(&self) -> &'static str {
        self.0.route.name()
    }

    /// What the cache had to do with it: off, miss, hit, partial or shared.
    #[getter]
    fn cache(&self) -> &'static str {
        self.0.cache.name()
    }

    /// Rows of the batch that the request ran in, those of others included; 0 where no model ran.
    #[getter]
    fn batch_rows(&self) -> u32 {
        self.0.batch_rows
    }

    /// Time spent waiting for a turn, in milliseconds.
    #[getter]
    fn queue_ms(&self) -> f64 {
        self.0.queue.as_nanos() as f64 / 1e6
    }

    /// Time the model ran (the whole batch's), in milliseconds.
    #[getter]
    fn run_ms(&self) -> f64 {
        self.0.run.as_nanos() as f64 / 1e6
    }

    /// Why a fallback answered; None where none did.
    #[getter]
    fn fallback(&self) -> Option<FallbackReason> {
        self.0.fallback.as_deref().cloned().map(FallbackReason)
    }

    fn __repr__(&self) -> String {
        let model = self.0.model.as_deref().map_or("None".into(), |m| format!("'{m}'"));
        let fallback = self.fallback().map_or(String::new(), |f| f.__repr__());
        let fallback =
            if fallback.is_empty() { fallback } else { format!(", fallback={fallback}") };
        format!(
            "Receipt(model={model}, version={}, route='{}', cache='{}', batch_rows={}, \
             queue_ms={:.3}, run_ms={:.3}{fallback})",
            self.version(),
            self.route(),
            self.cache(),
            self.batch_rows(),
            self.queue_ms(),
            self.run_ms()
        )
    }
}

/// Why a fallback answered.
#[pyclass(frozen, eq, module = "modelserve")]
#[derive(PartialEq)]
pub(crate) struct FallbackReason(modelserve::FallbackReason);

#[pymethods]
impl FallbackReason {
    /// What the first choice failed with, as the exceptions' `kind`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.name()
    }

    /// That error's message.
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    /// Who answered instead: `version 7`, `model small`, `constant`.
    #[getter]
    fn by(&self) -> &str {
        &self.0.by
    }

    fn __repr__(&self) -> String {
        format!(
            "FallbackReason(kind='{}', by='{}', message={:?})",
            self.kind(),
            self.by(),
            self.message()
        )
    }
}
