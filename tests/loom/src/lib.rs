//! The shipped protocol files, compiled against loom's primitives.

#[path = "../../../src/policy/cache/flight.rs"]
pub mod flight;
pub mod sync;
