//! `modelserve.Gate`: what a new version has to show before it serves.

use crate::error::OrRaise;
use modelserve::{Golden, Signature};
use pyo3::prelude::*;

/// The fields of the Python class.
#[derive(FromPyObject)]
pub(crate) struct Gate<'py> {
    #[pyo3(attribute("golden_text"))]
    golden_text: Bound<'py, PyAny>,
    replay_last: usize,
    max_drift: Option<f64>,
    max_disagreement: Option<f64>,
    max_latency_ratio: Option<f64>,
    tolerance: Option<f64>,
}

impl Gate<'_> {
    /// The gate for versions of a model of this signature.
    pub(crate) fn build(
        &self,
        py: Python<'_>,
        signature: &Signature,
    ) -> PyResult<modelserve::Gate> {
        let text: Vec<u8> = self.golden_text.call0()?.extract()?;
        let mut gate = modelserve::Gate {
            golden: Golden::parse(&text, signature)
                .map_err(|e| e.context("golden"))
                .or_raise(py)?,
            replay_last: self.replay_last,
            max_drift: self.max_drift,
            max_disagreement: self.max_disagreement,
            max_latency_ratio: self.max_latency_ratio,
            ..modelserve::Gate::default()
        };
        if let Some(tolerance) = self.tolerance {
            gate.tolerance.relative = tolerance;
        }
        Ok(gate)
    }
}
