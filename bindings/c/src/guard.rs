//! The one door between C and Rust: no panic passes, the error text is kept.

use crate::status::*;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the body of an exported function and turns its outcome into a status.
pub(crate) fn guard(body: impl FnOnce() -> Outcome) -> modelserve_status {
    // The bodies borrow nothing mutable that outlives them: no broken state can be seen after.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            remember("");
            MODELSERVE_STATUS_OK
        }
        Ok(Err(failure)) => {
            remember(&failure.message);
            failure.status
        }
        Err(payload) => {
            let text = payload_text(payload.as_ref());
            remember(&format!("defect in modelserve, please report it: panic: {text}"));
            discard(payload);
            MODELSERVE_STATUS_INTERNAL
        }
    }
}

/// Runs the body of an exported function that has no status: `otherwise` stands for a panic.
pub(crate) fn guard_value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        discard(payload);
        otherwise
    })
}

/// Runs work of a callback's thread: a panic is a failure, and this thread's last error stays.
pub(crate) fn contained<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = format!(
            "defect in modelserve, please report it: panic: {}",
            payload_text(payload.as_ref())
        );
        discard(payload);
        Err(Failure::new(MODELSERVE_STATUS_INTERNAL, text))
    })
}

/// The message of the last failure on this thread; empty after a success.
pub(crate) fn with_last_error<R>(read: impl FnOnce(&str) -> R) -> R {
    let mut read = Some(read);
    // While a thread ends its locals may be gone already: then there is no message.
    let known = LAST_ERROR.try_with(|last| {
        let last = last.try_borrow().ok()?;
        read.take().map(|read| read(&last))
    });
    match (known, read) {
        (Ok(Some(result)), _) => result,
        (_, Some(read)) => read(""),
        _ => unreachable!("the reader is used exactly once"),
    }
}

fn remember(message: &str) {
    // A thread that is ending may have no locals left: its last message is lost, nothing else.
    let _ = LAST_ERROR.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut()
            && !(message.is_empty() && last.is_empty())
        {
            last.clear();
            // The reader sees a C string: a NUL inside would cut the message short.
            last.extend(message.chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }));
        }
    });
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(no message)",
    }
}

/// Drops a panic's payload; a payload that panics in turn is forgotten.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        with_last_error(str::to_string)
    }

    #[test]
    fn the_message_lives_until_the_next_call() {
        let failed = guard(|| Err(Failure::argument("bad \0 name")));
        assert_eq!(failed, MODELSERVE_STATUS_INVALID_ARGUMENT);
        assert_eq!(last(), "bad \u{fffd} name");
        assert_eq!(guard(|| Ok(())), MODELSERVE_STATUS_OK);
        assert_eq!(last(), "");
    }

    #[test]
    fn a_panic_is_a_status() {
        assert_eq!(guard(|| panic!("of {}", "mine")), MODELSERVE_STATUS_INTERNAL);
        assert!(last().contains("of mine"), "{}", last());
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        struct Spiteful;
        impl Drop for Spiteful {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let status = guard(|| std::panic::panic_any(Spiteful));
        assert_eq!(status, MODELSERVE_STATUS_INTERNAL);
        assert_eq!(guard_value(7, || std::panic::panic_any(Spiteful)), 7);
    }
}
