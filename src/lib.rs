//! The serving layer as a library.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod attribute;
mod error;
pub mod format;
pub mod graph;
pub mod kernel;
pub mod limits;
pub mod source;
pub mod tensor;
pub mod threads;

pub use error::{Error, ErrorKind, Result};
