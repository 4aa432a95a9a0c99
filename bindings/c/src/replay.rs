//! Putting recorded requests to a model.

use crate::guard::guard;
use crate::handle::{modelserve_manager, modelserve_model, with_manager, with_model};
use crate::json::nanoseconds;
use crate::options::{Versioned, defaults, init, read};
use crate::pointer::{Out, TextOut, chars, optional_text, path, slice, text};
use crate::status::*;
use modelserve::Target;
use modelserve::record::{Latencies, ReplayOptions, ReplayReport};
use serde_json::{Value as Json, json};
use std::ffi::c_char;

/// Bytes of each text of a `modelserve_replay_report`.
pub const MODELSERVE_ENTRY_SIZE: usize = 128;

/// What is replayed, and how the answers are compared. Begin with
/// `modelserve_replay_options_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_replay_options {
    /// `sizeof(modelserve_replay_options)`; set by `modelserve_replay_options_init`.
    pub struct_size: usize,
    /// How far numbers may be apart, absolutely or relative to the recorded one; 1e-5 by default.
    pub tolerance: f64,
    /// Only the requests that were recorded of the model of this name; NULL: all.
    pub recorded_as: *const c_char,
    /// Requests that are replayed at most; 0: 1,000,000.
    pub max_requests: usize,
    /// Bytes of one line of the file; 0: 64 MiB. Longer ones are passed over and counted as
    /// malformed.
    pub max_line_bytes: usize,
}

// SAFETY: integers, a float and a nullable pointer; the first field is `struct_size`.
unsafe impl Versioned for modelserve_replay_options {
    const NAME: &'static str = "modelserve_replay_options";
}

/// Percentiles of latencies, in nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_latencies {
    /// Half of the requests took no longer.
    pub p50_ns: u64,
    /// Nine in ten took no longer.
    pub p90_ns: u64,
    /// 99 in 100 took no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What came of a replay. Holds no pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_replay_report {
    /// Requests that were replayed.
    pub requests: u64,
    /// Of those, the ones that were answered otherwise than recorded.
    pub disagreements: u64,
    /// Of those, the ones that failed now and had not.
    pub failures: u64,
    /// Lines that could not be read, a truncated one at the end not counted.
    pub malformed: u64,
    /// The largest distance of two numbers; infinite where something other than a number differs.
    pub max_difference: f64,
    /// The line of the file with that difference, counted from 1; 0: nothing differs.
    pub worst_line: u64,
    /// How long the recorded answers took.
    pub before: modelserve_latencies,
    /// How long the answers took now, without waiting in any queue.
    pub now: modelserve_latencies,
    /// 1: the last line was cut, as when a recording was killed or its disk was full; else 0.
    pub truncated: i32,
    /// Always 0.
    pub reserved: i32,
    /// What differs most in `worst_line`, such as `label[0]` or `scores[2]`; with a NUL, cut
    /// between characters where it does not fit, as the next two.
    pub worst_entry: [c_char; MODELSERVE_ENTRY_SIZE],
    /// What was recorded there.
    pub worst_before: [c_char; MODELSERVE_ENTRY_SIZE],
    /// What is answered now.
    pub worst_now: [c_char; MODELSERVE_ENTRY_SIZE],
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_replay_options_init(
    options: *mut modelserve_replay_options,
    struct_size: usize,
) -> modelserve_status {
    let defaults =
        modelserve_replay_options { tolerance: ReplayOptions::default().tolerance, ..defaults() };
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults) }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says.
unsafe fn replay_options(pointer: *const modelserve_replay_options) -> Outcome<ReplayOptions> {
    let mut options = ReplayOptions::default();
    if pointer.is_null() {
        return Ok(options);
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    if c.tolerance.is_nan() || c.tolerance < 0.0 {
        let message = format!("'tolerance' is {}, expected 0 or more", c.tolerance);
        return Err(Failure::argument(message));
    }
    options.tolerance = c.tolerance;
    // SAFETY: promised by the caller.
    options.model = unsafe { optional_text(c.recorded_as, "recorded_as") }?.map(str::to_string);
    if c.max_requests != 0 {
        options.max_requests = c.max_requests;
    }
    if c.max_line_bytes != 0 {
        options.max_line_bytes = c.max_line_bytes;
    }
    Ok(options)
}

/// Puts the requests recorded in the file at `path` to a version of `name` (`version` 0: the
/// serving one), one after another on the calling thread, and compares the answers with the
/// recorded ones. The version is asked past its policies: a replay fills no cache and counts as
/// no traffic. `options` may be NULL.
///
/// Errors: NOT_FOUND for the name, the version or the file; INVALID_ARGUMENT for a file that is
/// no recording and for the options; UNSUPPORTED for a recording of a later format;
/// PERMISSION_DENIED, IO from the system. Lines that cannot be read are counted, not errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_replay(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
    path: *const c_char,
    options: *const modelserve_replay_options,
    report: *mut modelserve_replay_report,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, path, options, out) = unsafe {
            (
                text(name, "name")?,
                self::path(path, "path")?,
                replay_options(options)?,
                Out::new(report, "report")?,
            )
        };
        let target = if version == 0 { Target::Serving } else { Target::Version(version) };
        let report =
            with_manager(manager, |manager| Ok(manager.replay(name, &target, path, &options)?))?;
        out.write(describe(&report));
        Ok(())
    })
}

/// As `modelserve_manager_replay`, with any model handle: a pinned version, or a model that was
/// loaded without a manager. Through a handle that follows a name the requests pass the policies
/// and count as traffic.
///
/// Errors: INVALID_HANDLE; otherwise as `modelserve_manager_replay`. What the model itself refuses
/// is in the report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_replay(
    model: modelserve_model,
    path: *const c_char,
    options: *const modelserve_replay_options,
    report: *mut modelserve_replay_report,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (path, options, out) = unsafe {
            (self::path(path, "path")?, replay_options(options)?, Out::new(report, "report")?)
        };
        let model = with_model(model, |model| Ok(model.shared()))?;
        out.write(describe(&modelserve::record::replay(path, &*model, &options)?));
        Ok(())
    })
}

/// A report as a JSON object: its figures by name, `before` and `now` as objects, and `worst`,
/// an object of `line`, `entry`, `before` and `now`, or null. An infinite `max_difference` is
/// null.
///
/// Errors: NULL_ARGUMENT; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_replay_report_json(
    report: *const modelserve_replay_report,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (report, out) =
            unsafe { (slice(report, 1, "report")?, TextOut::new(buf, len, needed)?) };
        out.write(&report.first().map_or(Json::Null, report_json).to_string())
    })
}

fn describe(report: &ReplayReport) -> modelserve_replay_report {
    let worst = report.worst.as_ref();
    modelserve_replay_report {
        requests: report.requests,
        disagreements: report.disagreements,
        failures: report.failures,
        malformed: report.malformed,
        max_difference: report.max_difference,
        worst_line: worst.map_or(0, |worst| worst.line),
        before: latencies(&report.old),
        now: latencies(&report.new),
        truncated: i32::from(report.truncated),
        reserved: 0,
        worst_entry: chars(worst.map_or("", |worst| &worst.entry)),
        worst_before: chars(worst.map_or("", |worst| &worst.old)),
        worst_now: chars(worst.map_or("", |worst| &worst.new)),
    }
}

fn latencies(all: &Latencies) -> modelserve_latencies {
    modelserve_latencies {
        p50_ns: nanoseconds(all.p50),
        p90_ns: nanoseconds(all.p90),
        p99_ns: nanoseconds(all.p99),
        max_ns: nanoseconds(all.max),
    }
}

fn report_json(report: &modelserve_replay_report) -> Json {
    let latencies = |l: &modelserve_latencies| json!({ "p50_ns": l.p50_ns, "p90_ns": l.p90_ns, "p99_ns": l.p99_ns, "max_ns": l.max_ns });
    let worst = (report.worst_line != 0).then(|| {
        json!({
            "line": report.worst_line,
            "entry": read_chars(&report.worst_entry),
            "before": read_chars(&report.worst_before),
            "now": read_chars(&report.worst_now),
        })
    });
    json!({
        "requests": report.requests,
        "disagreements": report.disagreements,
        "failures": report.failures,
        "malformed": report.malformed,
        "truncated": report.truncated != 0,
        "max_difference": report.max_difference,
        "worst": worst,
        "before": latencies(&report.before),
        "now": latencies(&report.now),
    })
}

/// The text up to its NUL; the caller may have written anything there.
fn read_chars(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_the_defaults_and_a_tolerance_is_a_number() {
        let default = ReplayOptions::default();
        let mut options: modelserve_replay_options = defaults();
        // SAFETY: a value of the right size.
        let read = unsafe { replay_options(&raw const options) }.unwrap();
        assert_eq!((read.tolerance, read.model), (0.0, None));
        assert_eq!(
            (read.max_requests, read.max_line_bytes),
            (default.max_requests, default.max_line_bytes)
        );
        options.recorded_as = c"m".as_ptr();
        (options.max_requests, options.max_line_bytes) = (7, 8);
        // SAFETY: a value of the right size.
        let read = unsafe { replay_options(&raw const options) }.unwrap();
        assert_eq!((read.max_requests, read.max_line_bytes), (7, 8));
        assert_eq!(read.model.as_deref(), Some("m"));
        for wrong in [f64::NAN, -1.0] {
            options.tolerance = wrong;
            // SAFETY: a value of the right size.
            let refused = unsafe { replay_options(&raw const options) }.unwrap_err();
            assert_eq!(refused.status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        }
    }

    #[test]
    fn a_report_is_json_whatever_its_texts_hold() {
        let mut report = describe(&ReplayReport::default());
        assert_eq!(report_json(&report)["worst"], Json::Null);
        report.worst_line = 3;
        report.worst_entry = [0xffu8 as c_char; MODELSERVE_ENTRY_SIZE];
        report.worst_now = chars("a \"b\"");
        report.max_difference = f64::INFINITY;
        let json = report_json(&report);
        assert_eq!((&json["worst"]["line"], &json["worst"]["now"]), (&json!(3), &json!("a \"b\"")));
        assert_eq!(json["max_difference"], Json::Null);
        assert!(json["worst"]["entry"].as_str().unwrap().starts_with('\u{fffd}'));
    }
}
