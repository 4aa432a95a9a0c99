//! `Model`: a model served by a manager, or one loaded alone.

use crate::array::{outputs_out, tensor_out, value_in};
use crate::error::{OrRaise, raise};
use crate::gil::{LONG, enter};
use crate::info::{Info, Stats};
use crate::input::Input;
use crate::options::{Source, load_options};
use crate::prediction::{Prediction, Predictions};
use crate::signature::Signature;
use modelserve::{ErrorKind, Features, GraphModel, Model as _, ModelHandle};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::Arc;

enum Serving {
    Managed(ModelHandle),
    Alone(Arc<GraphModel>),
}

/// `each!(self, m => expression)`: the expression for whichever model this is.
macro_rules! each {
    ($model:expr, $m:ident => $body:expr) => {
        match &$model.0 {
            Serving::Managed($m) => $body,
            Serving::Alone($m) => $body,
        }
    };
}

/// A model to predict with. From a manager it follows reloads, unless pinned. May be used from
/// any number of threads at once.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Model(Serving);

/// Loads a model without a manager, from a path or from bytes.
#[pyfunction]
#[pyo3(signature = (source, **options))]
pub(crate) fn load(
    py: Python<'_>,
    source: Source,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Model> {
    let options = load_options(options)?;
    let model = enter(py, LONG, || match source {
        Source::Path(path) => modelserve::load(path, &options),
        Source::Bytes(bytes) => modelserve::load_bytes(bytes, &options),
    })?;
    Ok(Model(Serving::Alone(Arc::new(model))))
}

impl Model {
    pub(crate) fn managed(handle: ModelHandle) -> Model {
        Model(Serving::Managed(handle))
    }

    fn interface(&self, py: Python<'_>) -> PyResult<Arc<modelserve::Signature>> {
        match &self.0 {
            Serving::Managed(handle) => handle.signature().or_raise(py),
            Serving::Alone(model) => Ok(model.info().signature),
        }
    }

    fn information(&self, py: Python<'_>) -> PyResult<modelserve::ModelInfo> {
        match &self.0 {
            Serving::Managed(handle) => handle.info().or_raise(py),
            Serving::Alone(model) => Ok(model.info()),
        }
    }

    fn batch(&self, rows: &Bound<'_, PyAny>) -> PyResult<modelserve::Predictions> {
        let py = rows.py();
        let input = match &self.0 {
            Serving::Managed(_) => Input::many(rows, self.interface(py)?.as_ref())?,
            Serving::Alone(model) => Input::many(rows, &model.signature())?,
        };
        let cost = each!(self, m => m.estimated_ns(input.rows()));
        let call = |features: Features<'_>| {
            enter(py, cost, || each!(self, m => m.predict_batch(features)))
        };
        match input {
            Input::Matrix(array, rows, width) => {
                call(Features::F32 { data: array.as_slice()?, rows, width })
            }
            Input::Row(row) => call(Features::F32 { data: &row, rows: 1, width: row.len() }),
            Input::Owned(features) => call(features),
        }
    }
}

#[pymethods]
impl Model {
    /// Predicts one row.
    pub(crate) fn predict(&self, row: &Bound<'_, PyAny>) -> PyResult<Prediction> {
        let py = row.py();
        let input = match &self.0 {
            Serving::Managed(_) => Input::one(row, self.interface(py)?.as_ref())?,
            Serving::Alone(model) => Input::one(row, &model.signature())?,
        };
        let cost = each!(self, m => m.estimated_ns(input.rows()));
        let prediction = match input {
            Input::Row(row) => enter(py, cost, || each!(self, m => m.predict_row(&row))),
            Input::Matrix(array, rows, width) => {
                let data = array.as_slice()?;
                enter(py, cost, || each!(self, m => m.predict(Features::F32 { data, rows, width })))
            }
            Input::Owned(features) => enter(py, cost, || each!(self, m => m.predict(features))),
        };
        prediction.map(Prediction::new)
    }

    /// Predicts many rows at once; the answers are columns.
    pub(crate) fn predict_batch(&self, rows: &Bound<'_, PyAny>) -> PyResult<Predictions> {
        self.batch(rows).map(Predictions::new)
    }

    /// The probabilities `[rows, classes]` of many rows.
    pub(crate) fn predict_proba(&self, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = rows.py();
        let none = || {
            let message = "the model has no probabilities: predict_batch gives its scores; load it \
                           with output_kind=\"probabilities\" or \"logits\" if its scores are those";
            raise(py, ErrorKind::Unsupported, message)
        };
        if !self.interface(py)?.has_probabilities {
            return Err(none());
        }
        let predictions = self.batch(rows)?;
        if predictions.probabilities().is_none() {
            return Err(none());
        }
        predictions.scores.ok_or_else(none).and_then(|scores| tensor_out(py, scores))
    }

    /// Runs the model on named inputs; all outputs, or the wanted ones, by name.
    #[pyo3(signature = (inputs, outputs=None))]
    pub(crate) fn run(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyDict>,
        outputs: Option<Vec<String>>,
    ) -> PyResult<Py<PyAny>> {
        let signature = self.interface(py)?;
        let mut named = Vec::with_capacity(inputs.len());
        for (name, value) in inputs.iter() {
            let name: String = name.extract()?;
            let spec = signature.inputs.iter().find(|i| i.name == name);
            named.push((name, value_in(&value, spec.and_then(|s| s.ty.as_ref()))?));
        }
        let rows = named.iter().find_map(|(_, v)| v.as_tensor().ok()?.dims().first().copied());
        let cost = each!(self, m => m.estimated_ns(rows.unwrap_or(1)));
        let wanted = outputs.unwrap_or_default();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        outputs_out(py, enter(py, cost, || each!(self, m => m.run(named, &wanted)))?)
    }

    /// A model that keeps answering with the version serving now.
    fn pin(&self, py: Python<'_>) -> PyResult<Model> {
        Ok(Model(match &self.0 {
            Serving::Managed(handle) => Serving::Managed(handle.pin().or_raise(py)?),
            Serving::Alone(model) => Serving::Alone(Arc::clone(model)),
        }))
    }

    /// Whether it keeps answering with one version.
    #[getter]
    fn pinned(&self) -> bool {
        match &self.0 {
            Serving::Managed(handle) => handle.is_pinned(),
            Serving::Alone(_) => true,
        }
    }

    /// The name it is served under; None without a manager.
    #[getter]
    fn name(&self) -> Option<&str> {
        match &self.0 {
            Serving::Managed(handle) => Some(handle.name()),
            Serving::Alone(_) => None,
        }
    }

    /// The number of the version that answers now.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.information(py)?.version)
    }

    /// What it takes and answers.
    #[getter]
    fn signature(&self, py: Python<'_>) -> PyResult<Signature> {
        Ok(Signature(self.interface(py)?))
    }

    /// What is known of the version that answers now.
    fn info(&self, py: Python<'_>) -> PyResult<Info> {
        Ok(Info(self.information(py)?))
    }

    /// Counts and latencies by version; only for models of a manager.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        match &self.0 {
            Serving::Managed(handle) => Ok(Stats(handle.stats().or_raise(py)?)),
            Serving::Alone(_) => Err(raise(
                py,
                ErrorKind::Unsupported,
                "a model loaded without a manager keeps no statistics",
            )),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = self.name().map(|n| {
            format!(
                "{} ",
                PyString::new(py, n).repr().map_or_else(|_| n.to_string(), |r| r.to_string())
            )
        });
        match self.information(py) {
            Ok(info) => {
                let name = name.unwrap_or_default();
                format!("<modelserve.Model {name}version {}: {}>", info.version, info.signature)
            }
            Err(_) => format!("<modelserve.Model {}unloaded>", name.unwrap_or_default()),
        }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Model cannot be pickled: load its file where it is needed"))
    }
}
