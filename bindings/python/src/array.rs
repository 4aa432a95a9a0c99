//! Tensors to and from NumPy arrays.

use crate::budget::{Budget, reserved};
use crate::dlpack;
use crate::error::{OrRaise, raise};
use crate::memory::{array_over, is_large};
use crate::narrow;
use modelserve::graph::ValueType;
use modelserve::limits::MAX_RANK;
use modelserve::tensor::{Data, Element, ElementType, Map, MapKey, Tensor, Value, spare};
use modelserve::{ErrorKind, convert_input};
use numpy::ndarray::{ArrayD, IxDyn};
use numpy::{Complex32, Complex64};
use numpy::{
    PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// The module `numpy`.
pub(crate) fn numpy_module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    NUMPY.get_or_try_init(py, || Ok(py.import("numpy")?.unbind())).map(|m| m.bind(py))
}

/// `numpy.asarray(object)`, with what it refuses said as `InvalidInputError`.
pub(crate) fn as_array<'py>(
    object: &Bound<'py, PyAny>,
    dtype: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    numpy_module(py)?.getattr("asarray")?.call1((object, dtype)).map_err(|e| {
        raise(
            py,
            ErrorKind::InvalidInput,
            format!("no array can be made of the input: {}", e.value(py)),
        )
    })
}

/// The dimensions of an array.
pub(crate) fn dims_of(array: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    array.getattr("shape")?.extract()
}

fn typed<'py, T>(array: &Bound<'py, PyAny>) -> Option<PyResult<Tensor>>
where
    T: numpy::Element + Element,
{
    let py = array.py();
    let array = array.cast::<PyArrayDyn<T>>().ok()?;
    let copy = || {
        let borrowed =
            array.try_readonly().map_err(|e| raise(py, ErrorKind::InvalidInput, e.to_string()))?;
        let mut data = match spare::take(array.len()) {
            Some(data) => data,
            None => reserved(py, array.len())?,
        };
        match borrowed.as_slice() {
            Ok(slice) if borrowed.is_c_contiguous() => data.extend_from_slice(slice),
            _ => data.extend(borrowed.as_array().iter().cloned()),
        }
        Tensor::from_vec(array.shape(), data).or_raise(py)
    };
    Some(copy())
}

/// The tensor with an array's elements, in logical order whatever its layout; element types are
/// kept, text and Python objects become strings, numbers or bools. What it takes is in `budget`
/// before it is copied.
pub(crate) fn tensor_in(array: &Bound<'_, PyAny>, budget: &Budget<'_>) -> PyResult<Tensor> {
    let py = array.py();
    let untyped = array
        .cast::<PyUntypedArray>()
        .map_err(|_| raise(py, ErrorKind::InvalidInput, "numpy.asarray has made no array"))?;
    check_rank(py, untyped.ndim())?;
    let dtype = untyped.dtype();
    match dtype.kind() {
        b'O' => objects_in(array, untyped.len(), budget),
        b'U' | b'S' | b'T' => texts_in(array, untyped.len(), budget),
        _ => {
            budget.take(py, untyped.len(), dtype.itemsize())?;
            numbers_in(array)
        }
    }
}

/// The tensor of an array of numbers or bools.
pub(crate) fn numbers_in(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = array.py();
    let aligned: bool = array.getattr("flags")?.getattr("aligned")?.extract()?;
    let array = &if aligned { array.clone() } else { array.call_method0("copy")? };
    let known = typed::<f32>(array)
        .or_else(|| typed::<f64>(array))
        .or_else(|| typed::<i64>(array))
        .or_else(|| typed::<i32>(array))
        .or_else(|| typed::<bool>(array))
        .or_else(|| typed::<u8>(array))
        .or_else(|| typed::<i8>(array))
        .or_else(|| typed::<u16>(array))
        .or_else(|| typed::<i16>(array))
        .or_else(|| typed::<u32>(array))
        .or_else(|| typed::<u64>(array))
        .or_else(|| typed::<half::f16>(array));
    if let Some(tensor) = known {
        return tensor;
    }
    let dtype = array.getattr("dtype")?;
    let kind: String = dtype.getattr("kind")?.extract()?;
    let native: bool = dtype.getattr("isnative")?.extract()?;
    match kind.as_str() {
        "f" | "i" | "u" if !native => {
            let native = dtype.call_method1("newbyteorder", ("=",))?;
            numbers_in(&array.call_method1("astype", (native,))?)
        }
        // long double
        "f" => numbers_in(&array.call_method1("astype", ("float64",))?),
        "c" => narrow::complex_in(array),
        _ => match narrow::of_name(&dtype.getattr("name")?.extract::<String>()?) {
            Some(small) => narrow::array_in(array, small),
            None => Err(raise(
                py,
                ErrorKind::InvalidInput,
                format!("arrays of dtype {dtype} are not understood: give numbers, bools or text"),
            )),
        },
    }
}

/// NumPy 2 goes to 64 dimensions, its bindings in Rust panic above 32.
pub(crate) fn check_rank(py: Python<'_>, rank: usize) -> PyResult<()> {
    if rank > MAX_RANK {
        let message = format!("an array of rank {rank} (at most {MAX_RANK})");
        return Err(raise(py, ErrorKind::LimitExceeded, message));
    }
    Ok(())
}

/// NumPy's own texts. Each becomes a Python object only while it is read.
fn texts_in(array: &Bound<'_, PyAny>, count: usize, budget: &Budget<'_>) -> PyResult<Tensor> {
    let py = array.py();
    budget.take(py, count, size_of::<String>())?;
    let mut texts = reserved(py, count)?;
    for (i, item) in array.getattr("flat")?.try_iter()?.enumerate() {
        let item = item?;
        budget.take(py, 1, text_len(i, &item)?)?;
        texts.push(text(i, &item)?);
    }
    Tensor::from_vec(&dims_of(array)?, texts).or_raise(py)
}

/// Elements that are Python objects: text if any is text, else bools, integers or floats.
fn objects_in(array: &Bound<'_, PyAny>, count: usize, budget: &Budget<'_>) -> PyResult<Tensor> {
    let py = array.py();
    let dims = dims_of(array)?;
    budget.room(py, count, size_of::<usize>())?;
    let items = array.call_method0("ravel")?.call_method0("tolist")?;
    let items = items.cast_into::<PyList>()?;
    let all =
        |test: fn(&Bound<'_, PyAny>) -> bool| !items.is_empty() && items.iter().all(|i| test(&i));
    let is_text =
        |i: &Bound<'_, PyAny>| i.is_instance_of::<PyString>() || i.is_instance_of::<PyBytes>();
    if items.iter().any(|i| is_text(&i)) {
        budget.take(py, count, size_of::<String>())?;
        // All lengths before the first copy: many elements may be one and the same object.
        for (i, item) in items.iter().enumerate() {
            budget.take(py, 1, text_len(i, &item)?)?;
        }
        let mut texts = reserved(py, count)?;
        for (i, item) in items.iter().enumerate() {
            texts.push(text(i, &item)?);
        }
        return Tensor::from_vec(&dims, texts).or_raise(py);
    }
    if all(|i| i.is_instance_of::<PyBool>()) {
        budget.take(py, count, size_of::<bool>())?;
        return Tensor::from_vec(&dims, items.extract::<Vec<bool>>()?).or_raise(py);
    }
    budget.take(py, count, size_of::<f64>())?;
    if all(|i| i.is_instance_of::<PyInt>())
        && let Ok(ints) = items.extract::<Vec<i64>>()
    {
        return Tensor::from_vec(&dims, ints).or_raise(py);
    }
    let floats: PyResult<Vec<f64>> = items.iter().enumerate().map(|(i, o)| number(i, &o)).collect();
    Tensor::from_vec(&dims, floats?).or_raise(py)
}

/// The bytes of a text.
fn text_len(index: usize, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().len());
    }
    object
        .cast::<PyString>()
        .map_err(|_| unfit(index, object, "text"))
        .and_then(|s| Ok(s.to_str()?.len()))
}

fn text(index: usize, object: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(String::from_utf8_lossy(bytes.as_bytes()).into_owned());
    }
    object.cast::<PyString>().map_err(|_| unfit(index, object, "text")).and_then(|s| s.extract())
}

/// A number; `None` and pandas' `NA` are missing values.
fn number(index: usize, object: &Bound<'_, PyAny>) -> PyResult<f64> {
    if object.is_none() || object.get_type().name().is_ok_and(|n| n == "NAType") {
        return Ok(f64::NAN);
    }
    object.extract().map_err(|_| unfit(index, object, "a number"))
}

fn unfit(index: usize, object: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let found = object.get_type().name().map_or_else(|_| "?".into(), |n| n.to_string());
    let message = format!("element {index} of the input is {found}, expected {expected}");
    raise(object.py(), ErrorKind::InvalidInput, message)
}

/// The value a model input of type `ty` takes: arrays keep their element type, plain Python
/// objects take the declared one.
pub(crate) fn value_in(
    object: &Bound<'_, PyAny>,
    ty: Option<&ValueType>,
    budget: &Budget<'_>,
) -> PyResult<Value> {
    let py = object.py();
    match ty {
        Some(ValueType::Optional(_)) if object.is_none() => Ok(Value::Optional(None)),
        Some(ValueType::Optional(inner)) => {
            Ok(Value::Optional(Some(Box::new(value_in(object, Some(inner), budget)?))))
        }
        Some(ValueType::Sequence(inner)) => {
            let items = object.try_iter()?.map(|item| value_in(&item?, Some(inner), budget));
            Ok(Value::Sequence(items.collect::<PyResult<_>>()?))
        }
        Some(ValueType::Map { value, .. }) => {
            let dict = object.cast::<PyDict>().map_err(|_| unfit(0, object, "a dict"))?;
            let entries = dict.iter().map(|(k, v)| {
                let key = match k.extract::<i64>() {
                    Ok(int) => MapKey::Int(int),
                    Err(_) => MapKey::Str(text(0, &k)?.into()),
                };
                Ok((key, value_in(&v, Some(value), budget)?))
            });
            Ok(Value::Map(Map { entries: entries.collect::<PyResult<_>>()? }))
        }
        declared => {
            let object = &dlpack::seen(object)?;
            let is_array = object.cast::<numpy::PyUntypedArray>().is_ok();
            let dtype = match declared {
                Some(ValueType::Tensor { dtype, .. }) if !is_array => Some(*dtype),
                _ => None,
            };
            let array = match dtype {
                Some(dtype) if is_whole(dtype) => whole_array(object, dtype)?,
                other => as_array(object, other.and_then(numpy_name))?,
            };
            let mut tensor = tensor_in(&array, budget)?;
            if let Some(dtype) = dtype.filter(|d| is_whole(*d)) {
                tensor = convert_input(tensor, dtype).or_raise(py)?;
            }
            match declared {
                // An array of objects does not say its type where it has none.
                Some(ValueType::Tensor { dtype: ElementType::String, .. })
                    if tensor.len() == 0 && tensor.dtype() == ElementType::F64 =>
                {
                    let none = Tensor::from_vec(tensor.dims(), Vec::<String>::new());
                    Ok(Value::Tensor(none.or_raise(py)?))
                }
                Some(ValueType::Tensor { dtype, .. }) => {
                    Ok(Value::Tensor(narrow::converted(py, tensor, *dtype)?))
                }
                _ => Ok(Value::Tensor(tensor)),
            }
        }
    }
}

/// Whether a type holds whole numbers only.
fn is_whole(dtype: ElementType) -> bool {
    use ElementType::{Bool, I2, I4, U2, U4};
    dtype.is_integer() || matches!(dtype, Bool | I4 | U4 | I2 | U2)
}

/// The array of a plain object's numbers, of the type that NumPy finds in them: told to make whole
/// numbers, it would cut fractions off.
fn whole_array<'py>(object: &Bound<'py, PyAny>, dtype: ElementType) -> PyResult<Bound<'py, PyAny>> {
    let found = as_array(object, None)?;
    // A list in which some whole numbers pass those of int64, or are floats, becomes doubles, which
    // do not hold all of them.
    let listed = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
    let kind: String = found.getattr("dtype")?.getattr("kind")?.extract()?;
    if listed
        && kind == "f"
        && let Ok(exact) = as_array(object, numpy_name(dtype))
        && numpy_module(object.py())?
            .getattr("array_equal")?
            .call1((&exact, &found))?
            .extract::<bool>()?
    {
        return Ok(exact);
    }
    Ok(found)
}

fn numpy_name(dtype: ElementType) -> Option<&'static str> {
    match dtype {
        ElementType::String => Some("object"),
        other => Some(narrow::wide_name(other).unwrap_or(other.name())),
    }
}

pub(crate) fn array_out<T: numpy::Element>(
    py: Python<'_>,
    dims: &[usize],
    data: Vec<T>,
) -> PyResult<Py<PyAny>> {
    let array = ArrayD::from_shape_vec(IxDyn(dims), data)
        .map_err(|e| raise(py, ErrorKind::Internal, e.to_string()))?;
    Ok(PyArrayDyn::from_owned_array(py, array).into_any().unbind())
}

/// As [`array_out`]; the memory of a large array is used again when the array is gone.
fn elements_out<T: numpy::Element + Element>(
    py: Python<'_>,
    dims: &[usize],
    data: Vec<T>,
) -> PyResult<Py<PyAny>> {
    if is_large::<T>(data.len()) { array_over(py, dims, data) } else { array_out(py, dims, data) }
}

/// A NumPy array of the tensor's elements that owns its memory; nothing is copied when nothing
/// else holds the tensor. Strings become an object array; types that NumPy has not become those of
/// the package `ml_dtypes` where it is installed, else wider ones of NumPy's.
pub(crate) fn tensor_out(py: Python<'_>, tensor: Tensor) -> PyResult<Py<PyAny>> {
    let dims = tensor.dims().to_vec();
    match tensor.into_data() {
        Data::F32(v) => elements_out(py, &dims, v),
        Data::F64(v) => elements_out(py, &dims, v),
        Data::F16(v) => elements_out(py, &dims, v),
        Data::I8(v) => elements_out(py, &dims, v),
        Data::I16(v) => elements_out(py, &dims, v),
        Data::I32(v) => elements_out(py, &dims, v),
        Data::I64(v) => elements_out(py, &dims, v),
        Data::U8(v) => elements_out(py, &dims, v),
        Data::U16(v) => elements_out(py, &dims, v),
        Data::U32(v) => elements_out(py, &dims, v),
        Data::U64(v) => elements_out(py, &dims, v),
        Data::Bool(v) => elements_out(py, &dims, v),
        Data::String(v) => {
            let texts: Vec<Py<PyAny>> =
                v.iter().map(|s| PyString::new(py, s).into_any().unbind()).collect();
            array_out(py, &dims, texts)
        }
        Data::C64(v) => {
            array_out(py, &dims, v.into_iter().map(|x| Complex32::new(x.re, x.im)).collect())
        }
        Data::C128(v) => {
            array_out(py, &dims, v.into_iter().map(|x| Complex64::new(x.re, x.im)).collect())
        }
        other => narrow::array_out(py, &dims, other),
    }
}

/// A value as Python has it: tensors as arrays, sequences as lists, maps as dicts (whose
/// one-number values are plain numbers).
pub(crate) fn value_out(py: Python<'_>, value: Value) -> PyResult<Py<PyAny>> {
    match value {
        Value::Tensor(t) => tensor_out(py, t),
        Value::Sequence(items) => {
            let items: PyResult<Vec<_>> = items.into_iter().map(|v| value_out(py, v)).collect();
            Ok(PyList::new(py, items?)?.into_any().unbind())
        }
        Value::Map(map) => {
            let dict = PyDict::new(py);
            for (key, value) in map.entries {
                let value = map_value_out(py, value)?;
                match key {
                    MapKey::Int(k) => dict.set_item(k, value)?,
                    MapKey::Str(k) => dict.set_item(k.as_ref(), value)?,
                }
            }
            Ok(dict.into_any().unbind())
        }
        Value::Optional(Some(v)) => value_out(py, *v),
        Value::Optional(None) => Ok(py.None()),
        other => Err(raise(
            py,
            ErrorKind::Unsupported,
            format!("no Python type for a {}", other.type_name()),
        )),
    }
}

fn map_value_out(py: Python<'_>, value: Value) -> PyResult<Py<PyAny>> {
    match &value {
        Value::Tensor(t) if t.len() == 1 && t.dtype().is_float() => {
            let number = t.to_f64_vec().or_raise(py)?.first().copied().unwrap_or(f64::NAN);
            Ok(PyFloat::new(py, number).into_any().unbind())
        }
        Value::Tensor(t) if t.len() == 1 && t.dtype().is_integer() => {
            let number = t.to_i64_vec().or_raise(py)?.first().copied().unwrap_or_default();
            Ok(number.into_pyobject(py)?.into_any().unbind())
        }
        _ => value_out(py, value),
    }
}

/// Named values as a dict in their order.
pub(crate) fn outputs_out(py: Python<'_>, outputs: Vec<(String, Value)>) -> PyResult<Py<PyAny>> {
    let dict = PyDict::new(py);
    for (name, value) in outputs {
        dict.set_item(name, value_out(py, value)?)?;
    }
    Ok(dict.into_any().unbind())
}
