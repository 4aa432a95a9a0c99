//! The Python face of modelserve: check, convert, call the crate's public interface, convert.

#![deny(unsafe_code)]

mod aio;
mod array;
mod asked;
mod attach;
mod budget;
mod dlpack;
mod error;
mod events;
mod explain;
mod gate;
mod gil;
mod http;
mod info;
mod input;
mod inspect;
mod interpreter;
mod logs;
mod manager;
mod memory;
mod model;
mod narrow;
mod options;
mod policies;
mod prediction;
mod receipt;
mod record;
mod reports;
mod scalars;
mod signature;
mod snapshot;

use pyo3::prelude::*;

/// The module `modelserve._native`.
// The tests have not run without the interpreter lock: a Python that has none turns it on.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use crate::attach::{after_fork, before_exit};
    #[pymodule_export]
    use crate::dlpack::PyTensor;
    #[pymodule_export]
    use crate::error::http_status;
    #[pymodule_export]
    use crate::events::Events;
    #[pymodule_export]
    use crate::gil::detach_above;
    #[cfg(debug_assertions)]
    #[pymodule_export]
    use crate::gil::provoke_panic;
    #[pymodule_export]
    use crate::http::Http;
    #[pymodule_export]
    use crate::info::{Info, Stats, VersionStats};
    #[pymodule_export]
    use crate::inspect::inspect;
    #[pymodule_export]
    use crate::logs::{flush_logs, set_log_sink};
    #[pymodule_export]
    use crate::manager::ModelManager;
    #[pymodule_export]
    use crate::model::{Model, load};
    #[pymodule_export]
    use crate::prediction::{Prediction, Predictions};
    #[pymodule_export]
    use crate::receipt::{FallbackReason, Receipt};
    #[pymodule_export]
    use crate::record::replay;
    #[pymodule_export]
    use crate::signature::{Signature, TensorSpec};
    #[pymodule_export]
    use crate::snapshot::Snapshot;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(py: Python<'_>) -> PyResult<()> {
        crate::gil::note_main_thread(py)?;
        crate::interpreter::claim(py)
    }
}
