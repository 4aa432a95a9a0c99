//! What callers pass as rows, as [`Features`].

use crate::array::{as_array, check_rank, dims_of, numpy_module, tensor_in};
use crate::budget::Budget;
use crate::dlpack::seen;
use crate::error::{OrRaise, raise};
use crate::scalars;
use modelserve::graph::Dim;
use modelserve::tensor::{ElementType, Shape, Tensor};
use modelserve::{ErrorKind, Features, Signature, TensorSpec};
use numpy::{
    PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use smallvec::SmallVec;

/// Rows taken from Python objects, or borrowed from an array.
pub(crate) enum Input<'py> {
    /// One row of numbers for a model with a single float32 input.
    Row(SmallVec<[f32; 32]>),
    /// A C-contiguous float32 matrix, read in place: rows and values a row.
    Matrix(PyReadonlyArrayDyn<'py, f32>, usize, usize),
    /// Anything else, copied.
    Owned(Features<'static>),
}

impl<'py> Input<'py> {
    /// One row: a list or tuple of values, a dict or pandas Series by name, an array, a text.
    pub(crate) fn one(
        object: &Bound<'py, PyAny>,
        signature: &Signature,
        budget: &Budget<'_>,
    ) -> PyResult<Self> {
        if is_single(signature, ElementType::F32)
            && let Some(row) = number_row(object, |x| x as f32, |x| x)
        {
            return Ok(Input::Row(row));
        }
        if is_single(signature, ElementType::F64)
            && let Some(row) = number_row::<f64>(object, |x| x, f64::from)
        {
            let tensor = Tensor::from_vec(&[1, row.len()], row.into_vec());
            return Ok(Input::Owned(Features::Tensor(tensor.or_raise(object.py())?)));
        }
        if let Some(text) = scalars::text(object, signature, budget)? {
            return Ok(text);
        }
        if let Ok(dict) = object.cast::<PyDict>() {
            return match scalars::row(dict, signature, budget)? {
                Some(row) => Ok(row),
                None => named_row(dict, signature, budget),
            };
        }
        let object = &seen(object)?;
        if is_frame(object)? {
            return frame(object, signature, budget);
        }
        if is_series(object)? {
            let values = object.call_method0("to_numpy")?;
            if let Some(dict) = series_by_name(object, signature)? {
                return named_row(&dict, signature, budget);
            }
            return Input::one(&values, signature, budget);
        }
        if takes_mixed(signature) {
            return mixed(object, signature, true, budget);
        }
        let array = as_array(object, text_dtype(object, signature.inputs.first()))?;
        let dims = dims_of(&array)?;
        let declared = signature.inputs.first().and_then(TensorSpec::dims).map(<[Dim]>::len);
        let row = dims.len() == 1 || (dims.len() > 1 && declared == Some(dims.len() + 1));
        let text = dims.is_empty() && declared != Some(1);
        Input::array(
            &if row || text || dims.is_empty() { first_axis(&array, text)? } else { array },
            signature,
            budget,
        )
    }

    /// Rows: a matrix as nested lists or array, a DataFrame or dict of columns, a list of dicts.
    pub(crate) fn many(
        object: &Bound<'py, PyAny>,
        signature: &Signature,
        budget: &Budget<'_>,
    ) -> PyResult<Self> {
        if let Ok(dict) = object.cast::<PyDict>() {
            return columns(dict, signature, budget);
        }
        let object = &seen(object)?;
        if is_frame(object)? {
            return frame(object, signature, budget);
        }
        if let Ok(list) = object.cast::<PyList>()
            && list.get_item(0).is_ok_and(|first| first.is_instance_of::<PyDict>())
        {
            return columns(&transposed(list)?, signature, budget);
        }
        if takes_mixed(signature) {
            return mixed(object, signature, false, budget);
        }
        let dtype = text_dtype(object, signature.inputs.first());
        Input::array(&as_array(object, dtype)?, signature, budget)
    }

    fn array(
        array: &Bound<'py, PyAny>,
        signature: &Signature,
        budget: &Budget<'_>,
    ) -> PyResult<Self> {
        if is_single(signature, ElementType::F32)
            && let Ok(matrix) = array.cast::<PyArrayDyn<f32>>()
            && let [rows, width] = *matrix.shape()
            && matrix.is_c_contiguous()
            && let Ok(borrowed) = matrix.try_readonly()
            && borrowed.as_slice().is_ok()
        {
            return Ok(Input::Matrix(borrowed, rows, width));
        }
        Ok(Input::Owned(Features::Tensor(tensor_in(array, budget)?)))
    }

    /// The rows as the library takes them.
    pub(crate) fn features(&self) -> PyResult<Features<'_>> {
        Ok(match self {
            Input::Row(row) => Features::F32 { data: row, rows: 1, width: row.len() },
            Input::Matrix(array, rows, width) => {
                Features::F32 { data: array.as_slice()?, rows: *rows, width: *width }
            }
            Input::Owned(features) => features.clone(),
        })
    }

    /// How many rows there are, as far as can be told; for estimates.
    pub(crate) fn rows(&self) -> usize {
        let first = |t: &Tensor| t.dims().first().copied().unwrap_or(1);
        match self {
            Input::Row(_) => 1,
            Input::Matrix(_, rows, _) => *rows,
            Input::Owned(Features::Tensor(t)) => first(t),
            Input::Owned(Features::Columns(c)) => c.first().map_or(1, |(_, t)| first(t)),
            Input::Owned(Features::Inputs(i)) => i.first().map_or(1, first),
            Input::Owned(_) => 1,
        }
    }
}

fn is_single(signature: &Signature, dtype: ElementType) -> bool {
    matches!(signature.inputs.as_slice(), [one] if one.dtype() == Some(dtype))
}

/// Several inputs of which some take text: a row's values have types of their own.
fn takes_mixed(signature: &Signature) -> bool {
    signature.inputs.len() > 1
        && signature.inputs.iter().any(|i| i.dtype() == Some(ElementType::String))
}

/// The numbers of a flat list, tuple or float array, from doubles (to the nearest, as NumPy
/// rounds) or floats; `None` for anything else.
fn number_row<T: Copy>(
    object: &Bound<'_, PyAny>,
    of_double: fn(f64) -> T,
    of_float: fn(f32) -> T,
) -> Option<SmallVec<[T; 32]>> {
    let numbers = |items: &mut dyn Iterator<Item = Bound<'_, PyAny>>| {
        items
            .map(|item| {
                let number =
                    item.is_instance_of::<PyFloat>() || item.is_exact_instance_of::<PyInt>();
                if number { item.extract::<f64>().ok().map(of_double) } else { None }
            })
            .collect()
    };
    if let Ok(list) = object.cast::<PyList>() {
        return numbers(&mut list.iter());
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        return numbers(&mut tuple.iter());
    }
    if let Ok(array) = object.cast::<PyArray1<f32>>() {
        let borrowed = array.try_readonly().ok()?;
        return borrowed.as_slice().ok().map(|s| s.iter().copied().map(of_float).collect());
    }
    if let Ok(array) = object.cast::<PyArray1<f64>>() {
        let borrowed = array.try_readonly().ok()?;
        return borrowed.as_slice().ok().map(|s| s.iter().copied().map(of_double).collect());
    }
    None
}

fn first_axis<'py>(array: &Bound<'py, PyAny>, twice: bool) -> PyResult<Bound<'py, PyAny>> {
    let mut dims = dims_of(array)?;
    dims.insert(0, 1);
    if twice {
        dims.insert(0, 1);
    }
    check_rank(array.py(), dims.len())?;
    array.call_method1("reshape", (dims,))
}

fn is_frame(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("columns")? && object.hasattr("__getitem__")?)
}

fn is_series(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("to_numpy")? && object.hasattr("index")?)
}

/// Whether names given with the values mean something to the model.
fn knows_names(signature: &Signature) -> bool {
    signature.inputs.len() > 1 || signature.feature_names.is_some()
}

fn is_input(signature: &Signature, name: &str) -> bool {
    signature.inputs.iter().any(|i| i.name == name)
}

/// A DataFrame's columns by name; by position where the model has one input and no names for its
/// features.
fn frame<'py>(
    frame: &Bound<'py, PyAny>,
    signature: &Signature,
    budget: &Budget<'_>,
) -> PyResult<Input<'py>> {
    let py = frame.py();
    let names: Vec<Bound<'py, PyAny>> =
        frame.getattr("columns")?.try_iter()?.collect::<PyResult<_>>()?;
    let texts: Vec<String> =
        names.iter().map(|n| Ok(n.str()?.to_string())).collect::<PyResult<_>>()?;
    if !knows_names(signature) && !texts.iter().any(|n| is_input(signature, n)) {
        return Input::array(&frame.call_method0("to_numpy")?, signature, budget);
    }
    let mut columns = Vec::with_capacity(names.len());
    for (name, text) in names.iter().zip(texts) {
        let column = as_array(&frame.get_item(name)?.call_method0("to_numpy")?, None)?;
        let column = tensor_in(&column, budget)?;
        if column.dims().len() != 1 {
            let message = format!("the DataFrame has more than one column '{text}'");
            return Err(raise(py, ErrorKind::InvalidInput, message));
        }
        columns.push((text, column));
    }
    Ok(Input::Owned(Features::Columns(columns)))
}

fn series_by_name<'py>(
    series: &Bound<'py, PyAny>,
    signature: &Signature,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let index: Vec<Bound<'py, PyAny>> =
        series.getattr("index")?.try_iter()?.collect::<PyResult<_>>()?;
    if !knows_names(signature) || !index.iter().all(|n| n.is_instance_of::<PyString>()) {
        return Ok(None);
    }
    let dict = PyDict::new(series.py());
    for (name, value) in index.iter().zip(series.call_method0("to_numpy")?.try_iter()?) {
        dict.set_item(name, value?)?;
    }
    Ok(Some(dict))
}

fn name_of(key: &Bound<'_, PyAny>) -> PyResult<String> {
    key.extract().map_err(|_| {
        raise(
            key.py(),
            ErrorKind::InvalidInput,
            format!("a dict of features has names as keys, not {key}"),
        )
    })
}

/// One row by name: scalars, and for wide inputs lists or arrays.
fn named_row<'py>(
    dict: &Bound<'py, PyDict>,
    signature: &Signature,
    budget: &Budget<'_>,
) -> PyResult<Input<'py>> {
    let mut columns = Vec::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        let name = name_of(&key)?;
        let spec = signature.inputs.iter().find(|i| i.name == name);
        let value = seen(&value)?;
        let array = as_array(&value, text_dtype(&value, spec))?;
        let dims = dims_of(&array)?;
        let declared = spec.and_then(TensorSpec::dims);
        let complete = dims.len() > 1
            && dims.first() == Some(&1)
            && declared.is_none_or(|d| d.len() == dims.len());
        let array = if complete { array } else { first_axis(&array, false)? };
        columns.push((name, tensor_in(&array, budget)?));
    }
    Ok(Input::Owned(Features::Columns(columns)))
}

/// The dtype to make an array of, for an input that takes text: an array of NumPy's texts would
/// give each the room of the longest.
fn text_dtype(object: &Bound<'_, PyAny>, spec: Option<&TensorSpec>) -> Option<&'static str> {
    let text = spec.is_some_and(|s| s.dtype() == Some(ElementType::String));
    (text && object.cast::<PyUntypedArray>().is_err()).then_some("object")
}

fn columns<'py>(
    dict: &Bound<'py, PyDict>,
    signature: &Signature,
    budget: &Budget<'_>,
) -> PyResult<Input<'py>> {
    let mut columns = Vec::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        let name = name_of(&key)?;
        let spec = signature.inputs.iter().find(|i| i.name == name);
        let value = seen(&value)?;
        let array = as_array(&value, text_dtype(&value, spec))?;
        let array = numpy_module(dict.py())?.getattr("atleast_1d")?.call1((array,))?;
        columns.push((name, tensor_in(&array, budget)?));
    }
    Ok(Input::Owned(Features::Columns(columns)))
}

/// A list of dicts as a dict of lists; every row has the names of the first.
fn transposed<'py>(rows: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
    let py = rows.py();
    let wrong = |message: String| raise(py, ErrorKind::InvalidInput, message);
    let dict = PyDict::new(py);
    let first = rows.get_item(0)?.cast_into::<PyDict>()?;
    for key in first.keys() {
        let mut column = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let row = row
                .cast::<PyDict>()
                .map_err(|_| wrong(format!("row {i} is no dict, as row 0 is")))?;
            if row.len() != first.len() {
                return Err(wrong(format!(
                    "row {i} has {} names, row 0 has {}",
                    row.len(),
                    first.len()
                )));
            }
            column
                .push(row.get_item(&key)?.ok_or_else(|| wrong(format!("row {i} lacks '{key}'")))?);
        }
        dict.set_item(key, PyList::new(py, column)?)?;
    }
    Ok(dict)
}

/// Rows of values of several types, one for each input in order.
fn mixed<'py>(
    object: &Bound<'py, PyAny>,
    signature: &Signature,
    one: bool,
    budget: &Budget<'_>,
) -> PyResult<Input<'py>> {
    let py = object.py();
    budget.room_for_objects(object)?;
    let mut array = as_array(object, Some("object"))?;
    if one && dims_of(&array)?.len() == 1 {
        array = first_axis(&array, false)?;
    }
    let dims = dims_of(&array)?;
    let (rows, width) = match *dims.as_slice() {
        [rows, width] if width == signature.inputs.len() => (rows, width),
        _ => {
            let message = format!(
                "the model takes {} values a row, one for each input; got an array of shape {dims:?}",
                signature.inputs.len()
            );
            return Err(raise(py, ErrorKind::InvalidInput, message));
        }
    };
    let by_column = array.getattr("T")?;
    let mut inputs = Vec::with_capacity(width);
    for (j, spec) in signature.inputs.iter().enumerate() {
        let tensor = tensor_in(&by_column.get_item(j)?, budget)?;
        let rank = spec.dims().map_or(1, <[Dim]>::len);
        let mut dims = vec![1; rank.max(1)];
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        let shape = Shape::new(&dims).or_raise(py)?;
        inputs.push(tensor.reshaped(shape).or_raise(py)?);
    }
    Ok(Input::Owned(Features::Inputs(inputs)))
}
