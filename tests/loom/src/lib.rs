//! The shipped protocol files, compiled against loom's primitives.

pub mod sync;

#[path = "../../../src/policy/breaker/core.rs"]
pub mod breaker;
