//! The library's log, handed to the host.

use crate::callback::{UserData, modelserve_release_callback};
use crate::guard::{guard, guard_value};
use crate::json::unix_ns;
use crate::pointer::c_string;
use crate::status::*;
use modelserve::{LogLevel, LogRecord, LogSink, flush_log, log_dropped, set_log_sink};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

/// Something failed, and a request or an operator notices.
pub const MODELSERVE_LOG_ERROR: i32 = 1;
/// Something was refused or given up; what served before serves on.
pub const MODELSERVE_LOG_WARN: i32 = 2;
/// Something changed as it was asked for.
pub const MODELSERVE_LOG_INFO: i32 = 3;
/// For those who look for a cause.
pub const MODELSERVE_LOG_DEBUG: i32 = 4;
/// Everything.
pub const MODELSERVE_LOG_TRACE: i32 = 5;

/// A record of the log. Valid, with all texts, during the call of the callback only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_log_record {
    /// One of `MODELSERVE_LOG_*`.
    pub level: i32,
    /// Always 0.
    pub reserved: i32,
    /// The version concerned; 0: none.
    pub version: u64,
    /// When it happened, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What part of the library says it.
    pub target: *const c_char,
    /// The model concerned; empty for none.
    pub model: *const c_char,
    /// What happened.
    pub message: *const c_char,
}

/// Told of a record. Must not leave by an exception or a jump. Records that it is too slow for
/// are dropped; nobody waits for it.
pub type modelserve_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, record: *const modelserve_log_record)>;

/// Hands what the library logs at `level` and at more important ones to `callback`, one record
/// after the other on a thread of the library, in place of the callback before; NULL ends it.
/// There is one for the process.
///
/// `release`, which may be NULL, is called exactly once with `user_data`, after the last call of
/// `callback`, on any thread; also when this function fails.
///
/// Errors: INVALID_ARGUMENT for the level.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_log_set(
    callback: modelserve_log_callback,
    user_data: *mut c_void,
    release: modelserve_release_callback,
    level: i32,
) -> modelserve_status {
    guard(|| {
        let user_data = UserData::new(user_data, release);
        let level = match level {
            MODELSERVE_LOG_ERROR => LogLevel::Error,
            MODELSERVE_LOG_WARN => LogLevel::Warn,
            MODELSERVE_LOG_INFO => LogLevel::Info,
            MODELSERVE_LOG_DEBUG => LogLevel::Debug,
            MODELSERVE_LOG_TRACE => LogLevel::Trace,
            _ => {
                return Err(Failure::argument(format!("'level' is {level}, expected 1 to 5")));
            }
        };
        let sink = callback.map(|callback| -> LogSink {
            Arc::new(move |record: &LogRecord| tell(record, callback, &user_data))
        });
        set_log_sink(sink, level);
        Ok(())
    })
}

fn tell(
    record: &LogRecord,
    callback: unsafe extern "C" fn(*mut c_void, *const modelserve_log_record),
    user_data: &UserData,
) {
    let target = c_string(record.target);
    let model = c_string(record.model.as_deref().unwrap_or_default());
    let message = c_string(&record.message);
    let record = modelserve_log_record {
        level: match record.level {
            LogLevel::Error => MODELSERVE_LOG_ERROR,
            LogLevel::Warn => MODELSERVE_LOG_WARN,
            LogLevel::Info => MODELSERVE_LOG_INFO,
            LogLevel::Debug => MODELSERVE_LOG_DEBUG,
            LogLevel::Trace => MODELSERVE_LOG_TRACE,
        },
        reserved: 0,
        version: record.version.unwrap_or(0),
        at_unix_ns: unix_ns(record.time),
        target: target.as_ptr(),
        model: model.as_ptr(),
        message: message.as_ptr(),
    };
    // SAFETY: the caller's function with the caller's data, and a record whose texts outlive the
    // call.
    unsafe { callback(user_data.pointer(), &raw const record) }
}

/// Waits until every record so far was handed to the callback, at most `timeout_ns` nanoseconds.
/// Not to be called from the callback.
///
/// Errors: DEADLINE_EXCEEDED.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_log_flush(timeout_ns: u64) -> modelserve_status {
    guard(|| match flush_log(Duration::from_nanos(timeout_ns)) {
        true => Ok(()),
        false => Err(Failure::new(
            MODELSERVE_STATUS_DEADLINE_EXCEEDED,
            "the log callback has records to take still",
        )),
    })
}

/// How many records the present callback did not get, because too many waited for it. 0 without
/// one. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_log_dropped() -> u64 {
    guard_value(0, log_dropped)
}
