//! Why a boosted model answers as it does.

use crate::array::tensor_out;
use crate::budget::Budget;
use crate::error::{OrRaise, raise};
use crate::gil::{LONG, enter};
use crate::input::Input;
use crate::model::Model;
use crate::reports::made;
use modelserve::tensor::Tensor;
use modelserve::{ErrorKind, ImportanceKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// See `Model.explain`.
pub(crate) fn explain(model: &Model, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = rows.py();
    let signature = model.interface(py)?;
    let input = Input::many(rows, &signature, &Budget::of(model))?;
    let features = input.features()?;
    let told = enter(py, LONG, || model.shared().explain(features))?;
    let (rows, targets, width) = (told.rows, told.targets, told.features);
    let mut values = Vec::with_capacity(rows * targets * width);
    let mut base = Vec::with_capacity(targets);
    for (i, margin) in told.values.chunks_exact(width + 1).enumerate() {
        values.extend_from_slice(&margin[..width]);
        if i < targets {
            base.push(margin[width]);
        }
    }
    let shape: &[usize] = if targets == 1 { &[rows, width] } else { &[rows, targets, width] };
    let values = tensor_out(py, Tensor::from_vec(shape, values).or_raise(py)?)?;
    let base = match base.as_slice() {
        [one] => one.into_pyobject(py)?.into_any().unbind(),
        many => tensor_out(py, Tensor::from_vec(&[many.len()], many.to_vec()).or_raise(py)?)?,
    };
    let names = signature.feature_names.clone();
    let made = made!(py, "Explanation", { "values": values, "base": base, "feature_names": names });
    Ok(made?.unbind())
}

/// See `Model.apply`.
pub(crate) fn apply(model: &Model, rows: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = rows.py();
    let signature = model.interface(py)?;
    let input = Input::many(rows, &signature, &Budget::of(model))?;
    let (count, features) = (input.rows(), input.features()?);
    let (trees, leaves) = enter(py, LONG, || model.shared().apply(features))?;
    let rows = leaves.len().checked_div(trees).unwrap_or(count);
    tensor_out(py, Tensor::from_vec(&[rows, trees], leaves).or_raise(py)?)
}

/// See `Model.importance`.
pub(crate) fn importance<'py>(
    py: Python<'py>,
    model: &Model,
    kind: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let kind = ImportanceKind::from_name(kind).ok_or_else(|| {
        let names = ImportanceKind::ALL.map(ImportanceKind::name).join(", ");
        let message = format!("importance by '{kind}' is not known: it is one of {names}");
        raise(py, ErrorKind::InvalidArgument, message)
    })?;
    let values = enter(py, LONG, || model.shared().importance(kind))?;
    let names = model.interface(py)?.feature_names.clone().unwrap_or_default();
    let told = PyDict::new(py);
    for (i, value) in values.into_iter().enumerate() {
        match names.get(i) {
            Some(name) => told.set_item(name, value)?,
            None => told.set_item(format!("f{i}"), value)?,
        }
    }
    Ok(told)
}
