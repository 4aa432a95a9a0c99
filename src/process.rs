//! Telling a forked child from its parent.
//!
//! Locks, queues and counts of a parent are meaningless in a child: the threads that would
//! release or drain them do not exist there. Whoever holds such state notes the generation it was
//! made in, and makes it anew when the number has changed. The system call that would tell
//! (`getpid`) costs more than a small prediction, so the host says when it forked: the Python
//! module and the C library do this by themselves.

use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Tells the library that this process is a fresh child of `fork`. Python's `os.fork` and the C
/// library's `fork` are noticed without this (when the host uses those faces); a Rust program
/// that forks calls it in the child before it predicts. Safe to call at any time.
pub fn after_fork() {
    // Pairs with the load in `generation`: only the number itself matters.
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Changes when the process has become a forked child.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}
