//! The one way from Python into the crate.

use crate::attach::come_back;
use crate::error::OrRaise;
use modelserve::{CancelToken, Error, ErrorKind, Result};
use pyo3::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

/// Work expected to take longer than this lets other Python threads run meanwhile. Handing the
/// interpreter lock over costs up to a few microseconds, more when other threads want it: shorter
/// work is done sooner than the lock would be back (docs/performance.md, benches/gil_line.py).
static DETACH_ABOVE_NS: AtomicU64 = AtomicU64::new(20_000);

/// For work of unknown, possibly long duration: always detached.
pub(crate) const LONG: u64 = u64::MAX;

/// Moves that line, to measure where it belongs; answers where it was, in nanoseconds.
#[pyfunction]
pub(crate) fn detach_above(ns: u64) -> u64 {
    // What may wait is detached in any case: it could keep the thread that it waits for.
    DETACH_ABOVE_NS.swap(ns.min(LONG - 1), Relaxed)
}

/// Runs `work`, detached from the interpreter when it is expected to take long; a panic becomes
/// an `InternalError`.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    estimated_ns: u64,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let long = estimated_ns > DETACH_ABOVE_NS.load(Relaxed);
    let result = match long {
        true => py.detach(|| (guarded(work), come_back())).0,
        false => guarded(work),
    };
    result.or_raise(py)
}

/// A call that takes longer than this can be interrupted by a signal's handler.
const INTERRUPTIBLE_NS: u64 = 5_000_000;

/// How often the handlers of signals get their turn while the main thread waits.
const TURN: Duration = Duration::from_millis(20);

/// The thread that Python calls handlers of signals on, where it imported the module.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// Notes whether the thread that imports the module is the main one. Once and for all: asking
/// Python during a call would run Python's code, and a daemon thread that does so while the
/// interpreter ends takes the process down (Python before 3.14 ends it by unwinding).
pub(crate) fn note_main_thread(py: Python<'_>) -> PyResult<()> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    if main.eq(threading.call_method0("get_ident")?)? {
        let _ = MAIN.set(std::thread::current().id());
    }
    Ok(())
}

/// Whether a call that is expected to take so long is made by [`enter_interruptible`]: it is long,
/// and on the main thread.
pub(crate) fn is_interruptible(estimated_ns: u64) -> bool {
    estimated_ns >= INTERRUPTIBLE_NS && MAIN.get() == Some(&std::thread::current().id())
}

/// As [`enter`], on a thread of its own. Signals (Control-C) are heard meanwhile: what a handler
/// raises cancels `work` by `cancel`, and is raised once `work` has ended, at its next step.
pub(crate) fn enter_interruptible<T: Send>(
    py: Python<'_>,
    cancel: &CancelToken,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    // Taken back where there is no memory for a thread.
    let work = Mutex::new(Some(work));
    let run = || {
        let work = work.lock().ok()?.take()?;
        Some(guarded(work))
    };
    let mut raised = None;
    let (result, _back) = py.detach(|| {
        let result = std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel::<()>();
            let worker = std::thread::Builder::new().name("modelserve-call".into());
            let worker = worker.spawn_scoped(scope, || {
                // Dropped at the end, which wakes the one that waits.
                let _done = done;
                run()
            });
            let Ok(worker) = worker else { return run() };
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TURN) {
                let back = come_back();
                if raised.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    cancel.cancel();
                    raised = Some(error);
                }
                drop(back);
            }
            worker.join().unwrap_or(None)
        });
        (result, come_back())
    });
    match (raised, result) {
        (Some(error), _) => Err(error),
        (None, Some(result)) => result.or_raise(py),
        // Panics of the work were caught in it.
        (None, None) => Err(defect(&"the work was lost")).or_raise(py),
    }
}

/// Panics as a defect would, on a way into the crate: `held`, `detached` or `interruptible`. For
/// the tests; what is built for release has no such function.
#[cfg(debug_assertions)]
#[pyfunction(name = "_provoke_panic")]
pub(crate) fn provoke_panic(py: Python<'_>, way: &str) -> PyResult<()> {
    #[allow(clippy::panic)] // It is what the function is for.
    let work = || -> Result<()> { panic!("provoked") };
    match way {
        "held" => enter(py, 0, work),
        "detached" => enter(py, LONG, work),
        _ => enter_interruptible(py, &CancelToken::default(), work),
    }
}

/// A panic of `work` is an error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(defect(panic.as_ref())))
}

fn defect(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Internal,
        format!("a defect of modelserve, please report it: panicked: {message}"),
    )
}
