//! The Python face of modelserve: check, convert, call the crate's public interface, convert.

#![deny(unsafe_code)]

mod array;
mod error;
mod gil;
mod info;
mod input;
mod manager;
mod model;
mod options;
mod prediction;
mod signature;

use pyo3::prelude::*;

/// The module `modelserve._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::info::{Info, Stats, VersionStats};
    #[pymodule_export]
    use crate::manager::ModelManager;
    #[pymodule_export]
    use crate::model::{Model, load};
    #[pymodule_export]
    use crate::prediction::{Prediction, Predictions};
    #[pymodule_export]
    use crate::signature::{Signature, TensorSpec};
}
