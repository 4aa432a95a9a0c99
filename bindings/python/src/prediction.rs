//! Answers, built into Python objects when asked for.

use crate::array::{outputs_out, tensor_out};
use crate::error::OrRaise;
use crate::receipt::Receipt;
use crate::signature::classes_out;
use modelserve::{Answer, Answers, Task};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// The prediction for one row.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Prediction(modelserve::Prediction);

impl Prediction {
    pub(crate) fn new(prediction: modelserve::Prediction) -> Self {
        Prediction(prediction)
    }
}

#[pymethods]
impl Prediction {
    /// The label (int or str), the value (float), the values or labels (list), or, where no
    /// meaning is known, the outputs by name (dict).
    #[getter]
    fn prediction<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match &self.0.answer {
            Answer::Int(label) => label.into_pyobject(py)?.into_any(),
            Answer::Str(label) => PyString::new(py, label).into_any(),
            Answer::Value(value) => value.into_pyobject(py)?.into_any(),
            Answer::Values(values) => values.into_pyobject(py)?.into_any(),
            Answer::Labels(labels) => labels.into_pyobject(py)?.into_any(),
            Answer::Outputs(outputs) => outputs_out(py, outputs.clone())?.into_bound(py),
            _ => py.None().into_bound(py),
        })
    }

    /// The probability of the label; None where the scores are no probabilities.
    #[getter]
    fn probability(&self) -> Option<f64> {
        self.0.probability
    }

    /// The probabilities in the order of `classes`; None where the scores are none.
    #[getter]
    fn probabilities(&self) -> Option<Vec<f64>> {
        self.0.probabilities().map(<[f64]>::to_vec)
    }

    /// One number a class: probabilities, decision values, distances; None where there are none.
    #[getter]
    fn scores(&self) -> Option<Vec<f64>> {
        self.0.scores.as_deref().map(<[f64]>::to_vec)
    }

    /// The class labels in the order of the scores; None where unknown.
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        classes_out(py, self.0.classes.as_deref())
    }

    /// The version that answered.
    #[getter]
    fn model_version(&self) -> u64 {
        self.0.model_version
    }

    /// How long the call took inside the library, in milliseconds.
    #[getter]
    fn latency_ms(&self) -> f64 {
        self.0.latency.as_nanos() as f64 / 1e6
    }

    /// How the answer came about.
    #[getter]
    fn receipt(&self) -> Receipt {
        Receipt(self.0.receipt.clone())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let prediction = self.prediction(py)?.repr()?;
        let probability =
            self.0.probability.map_or(String::new(), |p| format!(", probability={p:.4}"));
        Ok(format!(
            "Prediction(prediction={prediction}{probability}, model_version={})",
            self.0.model_version
        ))
    }
}

/// The predictions for a batch: arrays, and a sequence of `Prediction`.
#[pyclass(frozen, module = "modelserve", sequence)]
pub(crate) struct Predictions {
    rust: modelserve::Predictions,
    predictions: PyOnceLock<Py<PyAny>>,
    scores: PyOnceLock<Py<PyAny>>,
}

impl Predictions {
    pub(crate) fn new(rust: modelserve::Predictions) -> Self {
        Predictions { rust, predictions: PyOnceLock::new(), scores: PyOnceLock::new() }
    }
}

#[pymethods]
impl Predictions {
    /// Labels or values `[rows]`, several values or labels a row `[rows, n]`, or, where no
    /// meaning is known, the outputs by name (dict).
    #[getter]
    fn predictions(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let build = || match &self.rust.answers {
            Answers::Labels(t) | Answers::Multilabel(t) => tensor_out(py, t.clone()),
            Answers::Values(t) => {
                let array = tensor_out(py, t.clone())?;
                let single = t.dims().len() == 2 && t.dims().last() == Some(&1);
                if single && self.rust.task != Task::Transform {
                    return array.call_method1(py, "reshape", (-1,));
                }
                Ok(array)
            }
            Answers::Outputs(outputs) => outputs_out(py, outputs.clone()),
            _ => Ok(py.None()),
        };
        self.predictions.get_or_try_init(py, build).map(|a| a.clone_ref(py))
    }

    /// Probabilities `[rows, classes]`; None where the scores are none.
    #[getter]
    fn probabilities(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.rust.probabilities() {
            Some(_) => self.scores(py),
            None => Ok(None),
        }
    }

    /// Scores `[rows, classes]`: probabilities, decision values, distances; None without.
    #[getter]
    fn scores(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(scores) = &self.rust.scores else { return Ok(None) };
        let array = self.scores.get_or_try_init(py, || tensor_out(py, scores.clone()))?;
        Ok(Some(array.clone_ref(py)))
    }

    /// The class labels in the order of the scores; None where unknown.
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        classes_out(py, self.rust.classes.as_deref())
    }

    /// The version that answered every row.
    #[getter]
    fn model_version(&self) -> u64 {
        self.rust.model_version
    }

    /// How long the call took inside the library, in milliseconds.
    #[getter]
    fn latency_ms(&self) -> f64 {
        self.rust.latency.as_nanos() as f64 / 1e6
    }

    /// How the answers came about.
    #[getter]
    fn receipt(&self) -> Receipt {
        Receipt(self.rust.receipt.clone())
    }

    fn __len__(&self) -> usize {
        self.rust.rows
    }

    fn __getitem__(&self, py: Python<'_>, index: isize) -> PyResult<Prediction> {
        let rows = self.rust.rows;
        let row = if index < 0 {
            rows.checked_sub(index.unsigned_abs())
        } else {
            Some(index.unsigned_abs())
        };
        match row.filter(|&row| row < rows) {
            Some(row) => self.rust.row(row).or_raise(py).map(Prediction),
            None => Err(PyIndexError::new_err(format!("row {index} of {rows} predictions"))),
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "<modelserve.Predictions of {} rows ({}), model_version={}>",
            self.rust.rows, self.rust.task, self.rust.model_version
        )
    }
}
