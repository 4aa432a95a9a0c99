//! Element types that NumPy has not: the package `ml_dtypes` has them, one element a byte (two for
//! `bfloat16`), and it need not be there.

use crate::array::{array_out as plain_out, numbers_in, numpy_module};
use crate::error::{OrRaise, raise};
use half::bf16;
use modelserve::tensor::{Complex, Data, ElementType, Shape, Tensor};
use modelserve::{ErrorKind, convert_input};
use numpy::{Complex64, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The type of NumPy's that holds every value of a type that NumPy has not.
pub(crate) fn wide_name(dtype: ElementType) -> Option<&'static str> {
    use ElementType::*;
    match dtype {
        BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F6E2M3 | F6E3M2 | F4E2M1 => {
            Some("float32")
        }
        I4 | I2 => Some("int8"),
        U4 | U2 => Some("uint8"),
        _ => None,
    }
}

/// The type of that name in `ml_dtypes`.
pub(crate) fn of_name(name: &str) -> Option<ElementType> {
    ElementType::from_name(name).filter(|dtype| wide_name(*dtype).is_some())
}

/// The tensor of an array of `ml_dtypes`.
pub(crate) fn array_in(array: &Bound<'_, PyAny>, dtype: ElementType) -> PyResult<Tensor> {
    let py = array.py();
    let plain = if dtype == ElementType::BF16 { "uint16" } else { "uint8" };
    // A view needs elements without gaps.
    let dense = numpy_module(py)?.getattr("ascontiguousarray")?.call1((array,))?;
    let bits = numbers_in(&dense.call_method1("view", (plain,))?)?;
    // NumPy makes a vector of what has no dimensions.
    let dims: Vec<usize> = array.getattr("shape")?.extract()?;
    let data = match bits.data() {
        Data::U16(v) => Data::BF16(v.iter().copied().map(bf16::from_bits).collect()),
        Data::U8(v) => small(py, dtype, v.iter().copied())?,
        _ => return Err(raise(py, ErrorKind::Internal, "a view of another type")),
    };
    Tensor::new(Shape::new(&dims).or_raise(py)?, data).or_raise(py)
}

fn small(py: Python<'_>, dtype: ElementType, bits: impl Iterator<Item = u8>) -> PyResult<Data> {
    Data::from_small_bits(dtype, bits)
        .ok_or_else(|| raise(py, ErrorKind::Internal, format!("{dtype} is not of one byte")))
}

/// The tensor of an array of complex numbers.
pub(crate) fn complex_in(array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = array.py();
    let single: usize = array.getattr("dtype")?.getattr("itemsize")?.extract()?;
    let array = array.call_method1("astype", ("complex128",))?;
    let array = array
        .cast::<PyArrayDyn<Complex64>>()
        .map_err(|_| raise(py, ErrorKind::InvalidInput, "numpy has made no complex array"))?;
    let borrowed =
        array.try_readonly().map_err(|e| raise(py, ErrorKind::InvalidInput, e.to_string()))?;
    let view = borrowed.as_array();
    if single == 8 {
        let all = view.iter().map(|x| Complex { re: x.re as f32, im: x.im as f32 }).collect();
        return Tensor::from_vec::<Complex<f32>>(array.shape(), all).or_raise(py);
    }
    let all = view.iter().map(|x| Complex { re: x.re, im: x.im }).collect();
    Tensor::from_vec::<Complex<f64>>(array.shape(), all).or_raise(py)
}

/// The tensor as one of the declared type, where that is one that NumPy has not and the array was
/// of numbers.
pub(crate) fn converted(py: Python<'_>, tensor: Tensor, to: ElementType) -> PyResult<Tensor> {
    if wide_name(to).is_none() || tensor.dtype() == to {
        return Ok(tensor);
    }
    convert_input(tensor, to).or_raise(py)
}

/// The module `ml_dtypes`, where it is installed.
fn ml_dtypes(py: Python<'_>) -> Option<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Option<Py<PyModule>>> = PyOnceLock::new();
    let found = MODULE.get_or_init(py, || py.import("ml_dtypes").ok().map(Bound::unbind));
    found.as_ref().map(|module| module.bind(py))
}

/// An array of a type that NumPy has not.
pub(crate) fn array_out(py: Python<'_>, dims: &[usize], data: Data) -> PyResult<Py<PyAny>> {
    let dtype = data.dtype();
    if let Some(module) = ml_dtypes(py)
        && let Ok(known) = module.getattr(dtype.name())
    {
        let bits = match &data {
            Data::BF16(v) => plain_out::<u16>(py, dims, v.iter().map(|x| x.to_bits()).collect())?,
            // The package keeps the sign in the upper bits.
            Data::I4(v) => plain_out::<i8>(py, dims, v.iter().map(|x| x.get()).collect())?,
            Data::I2(v) => plain_out::<i8>(py, dims, v.iter().map(|x| x.get()).collect())?,
            small => plain_out::<u8>(py, dims, small.small_bits().unwrap_or_default())?,
        };
        return Ok(bits.bind(py).call_method1("view", (known,))?.unbind());
    }
    let tensor = Tensor::new(Shape::new(dims).or_raise(py)?, data).or_raise(py)?;
    match wide_name(dtype) {
        Some("int8") => {
            let all = tensor.to_i64_vec().or_raise(py)?.into_iter().map(|v| v as i8).collect();
            plain_out::<i8>(py, dims, all)
        }
        Some("uint8") => {
            let all = tensor.to_i64_vec().or_raise(py)?.into_iter().map(|v| v as u8).collect();
            plain_out::<u8>(py, dims, all)
        }
        _ => plain_out::<f32>(py, dims, tensor.to_f32_vec().or_raise(py)?),
    }
}
