//! One interpreter for a process: what the module keeps, classes and callbacks, belongs to it.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The address of the module `sys` of the interpreter that imported this one first, 0 before. Each
/// interpreter has a `sys` of its own, as long as it lives.
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// Takes the module for this interpreter.
///
/// # Errors
/// `ImportError` when another interpreter of the process has it.
pub(crate) fn claim(py: Python<'_>) -> PyResult<()> {
    let own = py.import("sys")?.as_ptr().addr();
    match OWNER.compare_exchange(0, own, SeqCst, SeqCst) {
        Err(owner) if owner != own => Err(PyImportError::new_err(
            "modelserve is in use by another interpreter of this process: it cannot be shared with \
             sub-interpreters",
        )),
        _ => Ok(()),
    }
}
