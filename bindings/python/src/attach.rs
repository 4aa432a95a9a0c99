//! From the library's threads into Python: callbacks, log records, answers to `await`.
//!
//! These threads outlive neither the interpreter nor a fork, and must not be surprised by either:
//! a thread that asks for the interpreter lock while the interpreter ends is never heard of again.
//! So entries are counted, [`before_exit`] (called by `atexit`) lets no more in and waits for
//! those that are inside. Threads of the host that come back from detached work are counted alike.

use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// How long the end of the process waits for callbacks that are under way.
const PATIENCE: Duration = Duration::from_secs(2);

static CLOSED: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The thread that ends the interpreter.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// One thread inside; leaving counts down.
pub(crate) struct Inside;

impl Inside {
    fn again() -> Inside {
        INSIDE.fetch_add(1, SeqCst);
        Inside
    }

    fn enter() -> Option<Inside> {
        // Counted before the look, so that `before_exit` either is seen here or sees this.
        INSIDE.fetch_add(1, SeqCst);
        let inside = Inside;
        (!CLOSED.load(SeqCst)).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // In a forked child the count starts anew, and this thread may have been counted before.
        let _ = INSIDE.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
    }
}

/// Runs `work` attached to the interpreter; `None` when the interpreter is going or gone.
pub(crate) fn attach<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    let _inside = Inside::enter()?;
    Python::try_attach(work)
}

/// Called by a thread of the host that is about to take the interpreter lock again after detached
/// work; to be kept until it has it. When the interpreter ends the thread stays here: it is a daemon
/// thread, which Python before 3.14 would end in a way that unwinds the frames of Rust, and that
/// ends the process. (Since 3.14 Python itself lets it hang.)
pub(crate) fn come_back() -> Inside {
    match Inside::enter() {
        Some(inside) => inside,
        // Functions that `atexit` calls after ours may predict, too.
        None if ENDING.get() == Some(&std::thread::current().id()) => Inside::again(),
        None => loop {
            std::thread::park();
        },
    }
}

/// Lets no thread of the library into Python any more. For `atexit`.
#[pyfunction]
pub(crate) fn before_exit(py: Python<'_>) {
    let _ = ENDING.set(std::thread::current().id());
    CLOSED.store(true, SeqCst);
    py.detach(|| {
        let began = Instant::now();
        while INSIDE.load(SeqCst) > 0 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Tells the library that this process is a fresh child. For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork() {
    // The threads that were inside are the parent's.
    INSIDE.store(0, SeqCst);
    modelserve::after_fork();
}
