//! Locks that threads sleep on, cells that are set once and read by others, and the primitives of
//! the concurrent protocols (batching lane, single flight, circuit breaker, slot).
//!
//! The protocols name their primitives through this module alone, so that the model checker in
//! `tests/loom` compiles the very same files against its own versions of them.
//!
//! Whatever waits for a condition waits here, on the standard library's locks. `parking_lot` keeps
//! its sleepers in one table of the process, linked through their stacks. A child of `fork`
//! inherits that table without the threads, and their stacks go to threads that it starts:
//! following the links is then undefined behaviour. Between short critical sections, where nobody
//! sleeps for long, `parking_lot` is used directly.

pub use arc_swap::ArcSwap;
pub use std::sync::Arc;
pub use std::sync::atomic;

#[cfg(not(modelserve_tsan))]
mod of_the_system;
#[cfg(not(modelserve_tsan))]
pub use of_the_system::{Condvar, Mutex, MutexGuard, OnceLock};

// ThreadSanitizer does not see into the precompiled standard library: a lock that is given up
// inside of it, as a waiting `Condvar` does, is none to it, nor is what a `OnceLock` hands over.
#[cfg(modelserve_tsan)]
mod instrumented;
#[cfg(modelserve_tsan)]
pub use instrumented::{Condvar, Mutex, MutexGuard, OnceLock};
