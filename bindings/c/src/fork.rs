//! Noticing that the process has become a forked child.

use crate::status::*;

/// Has the library told of every `fork` from now on. Does its work once.
#[cfg(unix)]
pub(crate) fn watch() -> Outcome {
    use std::ffi::c_int;
    use std::sync::OnceLock;

    type Hook = Option<unsafe extern "C" fn()>;
    unsafe extern "C" {
        fn pthread_atfork(prepare: Hook, parent: Hook, child: Hook) -> c_int;
    }
    /// Runs in the child before `fork` returns there: one atomic addition, which is allowed where
    /// only async-signal-safe functions are.
    unsafe extern "C" fn in_child() {
        modelserve::after_fork();
    }

    static ANSWER: OnceLock<c_int> = OnceLock::new();
    // SAFETY: POSIX's signature, and a hook that may run at any `fork`.
    match ANSWER.get_or_init(|| unsafe { pthread_atfork(None, None, Some(in_child)) }) {
        0 => Ok(()),
        code => Err(Failure::new(
            MODELSERVE_STATUS_NOT_READY,
            format!("the system takes no hook for forked children (error {code})"),
        )),
    }
}

/// There is no `fork`.
#[cfg(not(unix))]
pub(crate) fn watch() -> Outcome {
    Ok(())
}
