//! What a model takes and answers.

use modelserve::Classes;
use modelserve::graph::Dim;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::Arc;

/// Class labels as a list.
pub(crate) fn classes_out<'py>(
    py: Python<'py>,
    classes: Option<&Classes>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let list = match classes {
        None => return Ok(None),
        Some(Classes::Int(labels)) => PyList::new(py, labels)?,
        Some(Classes::Str(labels)) => PyList::new(py, labels.iter().map(|l| l.as_ref()))?,
    };
    Ok(Some(list.into_any()))
}

/// One named input or output.
#[pyclass(frozen, eq, module = "modelserve")]
#[derive(PartialEq)]
pub(crate) struct TensorSpec(modelserve::TensorSpec);

#[pymethods]
impl TensorSpec {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// NumPy's name of the element type; None for sequences, maps and what is unknown.
    #[getter]
    fn dtype(&self) -> Option<&'static str> {
        self.0.dtype().map(|d| d.name())
    }

    /// Each dimension's size, name, or None; None where even the rank is unknown.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(dims) = self.0.dims() else { return Ok(None) };
        let shape = PyList::empty(py);
        for dim in dims {
            match dim {
                Dim::Fixed(n) => shape.append(n)?,
                Dim::Symbol(name) => shape.append(name)?,
                Dim::Unknown => shape.append(py.None())?,
            }
        }
        Ok(Some(shape))
    }

    /// The axis that counts rows, where there is one.
    #[getter]
    fn batch_axis(&self) -> Option<usize> {
        self.0.batch_axis
    }

    /// The whole type as text, for example `float32[N, 4]` or `sequence<map<int64, float32>>`.
    #[getter]
    fn type_name(&self) -> Option<String> {
        self.0.ty.as_ref().map(ToString::to_string)
    }

    fn __repr__(&self) -> String {
        format!("<modelserve.TensorSpec {}>", self.0)
    }
}

/// A model's interface.
#[pyclass(frozen, eq, module = "modelserve")]
#[derive(PartialEq)]
pub(crate) struct Signature(pub(crate) Arc<modelserve::Signature>);

#[pymethods]
impl Signature {
    /// The inputs, in order.
    #[getter]
    fn inputs(&self) -> Vec<TensorSpec> {
        self.0.inputs.iter().cloned().map(TensorSpec).collect()
    }

    /// The outputs, in order.
    #[getter]
    fn outputs(&self) -> Vec<TensorSpec> {
        self.0.outputs.iter().cloned().map(TensorSpec).collect()
    }

    /// What the answer means: classifier, multilabel, regressor, outlier, cluster, transform or
    /// tensors.
    #[getter]
    fn task(&self) -> &'static str {
        self.0.task.name()
    }

    /// The class labels of a classifier, where known.
    #[getter]
    fn classes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        classes_out(py, self.0.classes.as_deref())
    }

    /// Names of the features of a single wide input, where known.
    #[getter]
    fn feature_names(&self) -> Option<Vec<String>> {
        self.0.feature_names.clone()
    }

    /// Values a row of a regressor or transform; 0 where unknown.
    #[getter]
    fn targets(&self) -> usize {
        self.0.targets
    }

    /// Whether the scores of a classifier are probabilities.
    #[getter]
    fn has_probabilities(&self) -> bool {
        self.0.has_probabilities
    }

    fn __repr__(&self) -> String {
        format!("<modelserve.Signature {}>", self.0)
    }
}
