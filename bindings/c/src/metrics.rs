//! The metrics of a manager in a format of choice, and its age.

use crate::guard::guard;
use crate::handle::{modelserve_manager, with_manager};
use crate::json;
use crate::pointer::{Out, TextOut};
use crate::status::*;
use modelserve::TextFormat;
use std::ffi::c_char;

/// Prometheus's text format 0.0.4, which everything understands: to be sent as
/// `text/plain; version=0.0.4; charset=utf-8`.
pub const MODELSERVE_METRICS_PROMETHEUS: i32 = 0;
/// OpenMetrics 1.0: to be sent as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
pub const MODELSERVE_METRICS_OPENMETRICS: i32 = 1;

/// All counters as text in the format `format`, one of `MODELSERVE_METRICS_*`.
///
/// Errors: INVALID_ARGUMENT for the format; BUFFER_TOO_SMALL (the text can grow between two
/// calls).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_metrics_as(
    manager: modelserve_manager,
    format: i32,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        let format = match format {
            MODELSERVE_METRICS_PROMETHEUS => TextFormat::Prometheus,
            MODELSERVE_METRICS_OPENMETRICS => TextFormat::OpenMetrics,
            _ => return Err(Failure::argument(format!("'format' is {format}, expected 0 or 1"))),
        };
        out.write(&with_manager(manager, |manager| Ok(manager.metrics().encode_as(format)))?)
    })
}

/// How long the manager has existed, in nanoseconds.
///
/// Errors: INVALID_HANDLE; NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_uptime(
    manager: modelserve_manager,
    nanoseconds: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(nanoseconds, "nanoseconds") }?;
        out.write(with_manager(manager, |manager| Ok(json::nanoseconds(manager.uptime())))?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_types_are_those_of_the_formats() {
        let types = [TextFormat::Prometheus, TextFormat::OpenMetrics].map(TextFormat::content_type);
        assert_eq!(types[0], "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(types[1], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    }
}
