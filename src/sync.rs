//! The locks and atomics of the concurrent protocols (batching lane, single flight, circuit
//! breaker, slot).
//!
//! Those files name their primitives through this module alone, so that the model checker in
//! `tests/loom` compiles the very same files against its own versions of them.

pub use arc_swap::ArcSwap;
#[expect(unused_imports, reason = "named by the model checker's tests only")]
pub use parking_lot::MutexGuard;
pub use parking_lot::{Condvar, Mutex};
pub use std::sync::Arc;
pub use std::sync::atomic;
