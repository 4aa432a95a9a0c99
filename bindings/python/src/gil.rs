//! The one way from Python into the crate.

use crate::attach::come_back;
use crate::error::OrRaise;
use modelserve::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Work expected to take longer than this lets other Python threads run meanwhile. Handing the
/// interpreter lock over costs up to a few microseconds, more when other threads want it: shorter
/// work is done sooner than the lock would be back (docs/performance.md, benches/gil_line.py).
static DETACH_ABOVE_NS: AtomicU64 = AtomicU64::new(20_000);

/// For work of unknown, possibly long duration: always detached.
pub(crate) const LONG: u64 = u64::MAX;

/// Moves that line, to measure where it belongs; answers where it was, in nanoseconds.
#[pyfunction]
pub(crate) fn detach_above(ns: u64) -> u64 {
    // What may wait is detached in any case: it could keep the thread that it waits for.
    DETACH_ABOVE_NS.swap(ns.min(LONG - 1), Relaxed)
}

/// Runs `work`, detached from the interpreter when it is expected to take long; a panic becomes
/// an `InternalError`.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    estimated_ns: u64,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let guarded =
        || catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(defect(panic.as_ref())));
    let long = estimated_ns > DETACH_ABOVE_NS.load(Relaxed);
    let result = match long {
        true => py.detach(|| (guarded(), come_back())).0,
        false => guarded(),
    };
    result.or_raise(py)
}

fn defect(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Internal,
        format!("a defect of modelserve, please report it: panicked: {message}"),
    )
}
