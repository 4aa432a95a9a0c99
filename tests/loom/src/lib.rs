//! The shipped protocol files, compiled against loom's primitives.

pub mod sync;

#[path = "../../../src/policy/batch/lane.rs"]
pub mod lane;
