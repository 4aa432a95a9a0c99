//! One row of plain Python values, taken without NumPy. What is anything else is left to the way
//! through arrays, which says what is wrong with it.

use crate::budget::Budget;
use crate::input::Input;
use modelserve::tensor::{ElementType, Tensor};
use modelserve::{Features, Signature, TensorSpec};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};
use smallvec::SmallVec;

/// A plain value.
enum Scalar<'a> {
    Double(f64),
    Float(f32),
    Int(i64),
    Bool(bool),
    Text(&'a str),
}

/// NumPy's own scalars, which are what an array gives for an index.
struct NumpyScalars {
    float32: Py<PyType>,
    int64: Py<PyType>,
    bool: Py<PyType>,
}

fn numpy_scalars(py: Python<'_>) -> Option<&NumpyScalars> {
    static TYPES: PyOnceLock<NumpyScalars> = PyOnceLock::new();
    TYPES
        .get_or_try_init(py, || -> PyResult<NumpyScalars> {
            let numpy = crate::array::numpy_module(py)?;
            let class = |name: &str| -> PyResult<Py<PyType>> {
                Ok(numpy.getattr(name)?.cast_into::<PyType>()?.unbind())
            };
            Ok(NumpyScalars {
                float32: class("float32")?,
                int64: class("int64")?,
                bool: class("bool_")?,
            })
        })
        .ok()
}

fn scalar<'a>(value: &'a Bound<'_, PyAny>) -> Option<Scalar<'a>> {
    if let Ok(double) = value.cast::<PyFloat>() {
        return Some(Scalar::Double(double.value()));
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        return text.to_str().ok().map(Scalar::Text);
    }
    if value.is_exact_instance_of::<PyInt>() {
        return value.extract().ok().map(Scalar::Int);
    }
    if let Ok(bool) = value.cast_exact::<PyBool>() {
        return Some(Scalar::Bool(bool.is_true()));
    }
    let py = value.py();
    let class = value.get_type();
    let numpy = numpy_scalars(py)?;
    if class.is(&numpy.float32) {
        return value.extract().ok().map(Scalar::Float);
    }
    if class.is(&numpy.int64) {
        return value.extract().ok().map(Scalar::Int);
    }
    if class.is(&numpy.bool) {
        return value.is_truthy().ok().map(Scalar::Bool);
    }
    None
}

impl Scalar<'_> {
    /// As the one value of a tensor `[1]`.
    fn tensor(&self) -> Option<Tensor> {
        match *self {
            Scalar::Double(x) => Tensor::from_vec(&[1], vec![x]),
            Scalar::Float(x) => Tensor::from_vec(&[1], vec![x]),
            Scalar::Int(x) => Tensor::from_vec(&[1], vec![x]),
            Scalar::Bool(x) => Tensor::from_vec(&[1], vec![x]),
            Scalar::Text(x) => Tensor::from_vec(&[1], vec![x.to_string()]),
        }
        .ok()
    }

    fn number(&self) -> Option<f64> {
        match *self {
            Scalar::Double(x) => Some(x),
            Scalar::Float(x) => Some(x.into()),
            Scalar::Int(x) => Some(x as f64),
            Scalar::Bool(x) => Some(u8::from(x).into()),
            Scalar::Text(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        if let Scalar::Text(text) = self { text.len() } else { 8 }
    }
}

/// A text for a model whose only input takes one a row.
pub(crate) fn text<'py>(
    object: &Bound<'py, PyAny>,
    signature: &Signature,
    budget: &Budget<'_>,
) -> PyResult<Option<Input<'py>>> {
    let [input] = signature.inputs.as_slice() else { return Ok(None) };
    let one = input.dtype() == Some(ElementType::String) && takes_one(input);
    match object.cast_exact::<PyString>() {
        Ok(text) if one => {
            let text = text.to_str()?;
            budget.take(object.py(), text.len(), 1)?;
            let tensor = Tensor::from_vec(&[1], vec![text.to_string()]).ok();
            Ok(tensor.map(|tensor| Input::Owned(Features::Tensor(tensor))))
        }
        _ => Ok(None),
    }
}

/// Whether a row of the input is one value.
fn takes_one(input: &TensorSpec) -> bool {
    input.row_width() == Some(1) && input.dims().is_some_and(|dims| dims.len() <= 2)
}

/// The place of `name` among names: mostly the next one.
fn place<'n>(name: &str, next: usize, names: impl Fn(usize) -> Option<&'n str>) -> Option<usize> {
    if names(next) == Some(name) {
        return Some(next);
    }
    (0..).map_while(|i| names(i).map(|n| (i, n))).find(|(_, n)| *n == name).map(|(i, _)| i)
}

/// A dict of one row: a value for each input, or for each feature of the only one.
pub(crate) fn row<'py>(
    dict: &Bound<'py, PyDict>,
    signature: &Signature,
    budget: &Budget<'_>,
) -> PyResult<Option<Input<'py>>> {
    let inputs = &signature.inputs;
    match (inputs.as_slice(), &signature.feature_names) {
        ([one], Some(names)) if one.dtype() == Some(ElementType::F32) => {
            let by_feature = dict.len() == names.len();
            let row = if by_feature { features(dict, names) } else { None };
            Ok(row.map(|row| Input::Row(row.into_iter().map(|x| x as f32).collect())))
        }
        ([one], Some(names)) if one.dtype() == Some(ElementType::F64) => {
            let by_feature = dict.len() == names.len();
            let row = if by_feature { features(dict, names) } else { None };
            let tensor = row.and_then(|row| Tensor::from_vec(&[1, row.len()], row.into_vec()).ok());
            Ok(tensor.map(|tensor| Input::Owned(Features::Tensor(tensor))))
        }
        ([_, _, ..], _) if dict.len() == inputs.len() && inputs.iter().all(takes_one) => {
            each_input(dict, inputs, budget)
        }
        _ => Ok(None),
    }
}

fn features(dict: &Bound<'_, PyDict>, names: &[String]) -> Option<SmallVec<[f64; 32]>> {
    let mut row: SmallVec<[Option<f64>; 32]> = smallvec::smallvec![None; names.len()];
    for (i, (key, value)) in dict.iter().enumerate() {
        let name = key.cast::<PyString>().ok()?;
        let at = place(name.to_str().ok()?, i, |i| names.get(i).map(String::as_str))?;
        *row.get_mut(at)? = Some(scalar(&value)?.number()?);
    }
    row.into_iter().collect()
}

fn each_input<'py>(
    dict: &Bound<'py, PyDict>,
    inputs: &[TensorSpec],
    budget: &Budget<'_>,
) -> PyResult<Option<Input<'py>>> {
    let mut row: Vec<Option<Tensor>> = vec![None; inputs.len()];
    let mut bytes = 0usize;
    for (i, (key, value)) in dict.iter().enumerate() {
        let Ok(name) = key.cast::<PyString>() else { return Ok(None) };
        let at = place(name.to_str()?, i, |i| inputs.get(i).map(|input| input.name.as_str()));
        let (Some(at), Some(scalar)) = (at, scalar(&value)) else { return Ok(None) };
        let text = inputs.get(at).is_some_and(|i| i.dtype() == Some(ElementType::String));
        if text != matches!(scalar, Scalar::Text(_)) {
            return Ok(None);
        }
        bytes = bytes.saturating_add(scalar.bytes());
        budget.room(dict.py(), bytes, 1)?;
        let Some(slot) = row.get_mut(at) else { return Ok(None) };
        *slot = scalar.tensor();
    }
    budget.take(dict.py(), bytes, 1)?;
    let row: Option<Vec<Tensor>> = row.into_iter().collect();
    Ok(row.map(|row| Input::Owned(Features::Inputs(row))))
}
