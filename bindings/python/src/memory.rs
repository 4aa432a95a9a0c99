//! The memory of large arrays that are handed out: it comes back for the next answer.

use modelserve::tensor::{Data, Element, spare};
use numpy::PyArrayDyn;
use numpy::ndarray::{ArrayView, IxDyn};
use pyo3::prelude::*;

/// What an array of NumPy's lies in. NumPy drops it with the last array that looks into it.
#[pyclass(frozen, module = "modelserve._native")]
struct Memory(Option<Data>);

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(data) = self.0.take() {
            spare::give(data);
        }
    }
}

/// Whether a buffer of so many elements is worth keeping.
pub(crate) fn is_large<T: Element>(len: usize) -> bool {
    len.saturating_mul(T::TYPE.size()) >= spare::MIN_BYTES
}

/// A NumPy array over `data`, which has as many elements as dimensions `dims` say.
#[expect(unsafe_code, reason = "an array that does not own its elements")]
pub(crate) fn array_over<T: numpy::Element + Element>(
    py: Python<'_>,
    dims: &[usize],
    mut data: Vec<T>,
) -> PyResult<Py<PyAny>> {
    let len: usize = dims.iter().product();
    if len != data.len() {
        let message = format!("{} elements for an array of {len}", data.len());
        return Err(pyo3::exceptions::PyRuntimeError::new_err(message));
    }
    let elements = data.as_mut_ptr();
    let memory = Bound::new(py, Memory(Some(T::wrap(data))))?;
    // SAFETY: `elements` points to as many initialised elements as `dims` say, row-major; the
    // vector that owns them went into `memory` without moving them, nothing else refers to them,
    // and the array holds `memory` for as long as it lives.
    let array = unsafe {
        let view = ArrayView::from_shape_ptr(IxDyn(dims), elements.cast_const());
        PyArrayDyn::borrow_from_array(&view, memory.into_any())
    };
    Ok(array.into_any().unbind())
}
