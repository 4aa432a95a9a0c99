//! The shipped protocol files, compiled against loom's primitives.

#[path = "../../../src/policy/cache/flight.rs"]
pub mod flight;
pub mod sync;

#[path = "../../../src/policy/breaker/core.rs"]
pub mod breaker;
#[path = "../../../src/manager/cell.rs"]
pub mod cell;
#[path = "../../../src/policy/batch/lane.rs"]
pub mod lane;
