//! Noticing that the process has become a forked child.

use crate::handle;
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
    unsafe extern "C" fn before() {
        handle::before_fork();
    }
    unsafe extern "C" fn in_parent() {
        handle::after_fork();
    }
    unsafe extern "C" fn in_child() {
        handle::after_fork();
        modelserve::after_fork();
    }

    static ANSWER: OnceLock<c_int> = OnceLock::new();
    let register = || {
        // SAFETY: POSIX's signature, and hooks that may run at any `fork`: a lock that is held
        // for moments only, and atomic operations.
        unsafe { pthread_atfork(Some(before), Some(in_parent), Some(in_child)) }
    };
    match ANSWER.get_or_init(register) {
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
