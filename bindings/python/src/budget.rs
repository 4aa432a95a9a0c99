//! What the arrays of one request may take, checked before they are copied.

use crate::error::raise;
use crate::model::Model;
use modelserve::ErrorKind;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use std::cell::{Cell, OnceCell};

/// The bytes that a request may still take. An array may be far larger than the memory it lies in
/// (`numpy.broadcast_to`, one text referred to many times), and an allocation that fails ends the
/// process: the model's own check, on the copy, would come too late.
pub(crate) struct Budget<'a> {
    model: &'a Model,
    /// Asked for by the first copy: rows that are borrowed or small need none.
    limit: OnceCell<u64>,
    taken: Cell<u64>,
}

impl<'a> Budget<'a> {
    pub(crate) fn of(model: &'a Model) -> Self {
        Budget { model, limit: OnceCell::new(), taken: Cell::new(0) }
    }

    /// Takes room for `count` elements of `size` bytes.
    ///
    /// # Errors
    /// `LimitExceeded` when the request would have more bytes than the model takes.
    pub(crate) fn take(&self, py: Python<'_>, count: usize, size: usize) -> PyResult<()> {
        self.taken.set(self.room(py, count, size)?);
        Ok(())
    }

    /// As [`Budget::take`], for what is only made on the way: answers the bytes with it.
    pub(crate) fn room(&self, py: Python<'_>, count: usize, size: usize) -> PyResult<u64> {
        let limit = *self.limit.get_or_init(|| self.model.max_request_bytes());
        let bytes = (count as u64).saturating_mul(size as u64).saturating_add(self.taken.get());
        if bytes > limit {
            let message = format!(
                "a request of {bytes} bytes (at most {limit}, RequestLimits::request_bytes)"
            );
            return Err(raise(py, ErrorKind::LimitExceeded, message));
        }
        Ok(bytes)
    }

    /// Whether there is room for references to all elements of what may be an array.
    pub(crate) fn room_for_objects(&self, object: &Bound<'_, PyAny>) -> PyResult<()> {
        match object.cast::<PyUntypedArray>() {
            Ok(array) => self.room(object.py(), array.len(), size_of::<usize>()).map(drop),
            Err(_) => Ok(()),
        }
    }
}

/// A vector with room for `count` elements.
///
/// # Errors
/// `LimitExceeded` when there is not that much memory.
pub(crate) fn reserved<T>(py: Python<'_>, count: usize) -> PyResult<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count).map_err(|e| {
        let message = format!("no memory for {count} elements of a request: {e}");
        raise(py, ErrorKind::LimitExceeded, message)
    })?;
    Ok(all)
}
