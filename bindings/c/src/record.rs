//! Recording a sample of a model's requests.

use crate::guard::guard;
use crate::handle::{modelserve_manager, with_manager};
use crate::options::{Versioned, defaults, init, read};
use crate::pointer::{Out, chars, path, text};
use crate::status::*;
use modelserve::record::{RecordOptions, RecordStatus};
use std::ffi::c_char;

/// Bytes of `modelserve_recording.message`.
pub const MODELSERVE_MESSAGE_SIZE: usize = 256;

/// What is recorded, and at what cost at most. Begin with `modelserve_record_options_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_record_options {
    /// `sizeof(modelserve_record_options)`; set by `modelserve_record_options_init`.
    pub struct_size: usize,
    /// The share of requests that is recorded, 0 to 1; 0.01 by default.
    pub sample: f64,
    /// Bytes of the file, where the recording ends; 0: 1 GiB.
    pub max_bytes: u64,
    /// Bytes of values that may wait for the disk; 0: 64 MiB.
    pub max_pending_bytes: u64,
    /// Records that may wait for the disk; 0: 1,024. Further ones are dropped and counted.
    pub max_pending: usize,
}

// SAFETY: integers and a float; the first field is `struct_size`.
unsafe impl Versioned for modelserve_record_options {
    const NAME: &'static str = "modelserve_record_options";
}

/// How a recording stands. Holds no pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_recording {
    /// Records in the file, or on the way to it in a buffer of 64 KiB.
    pub written: u64,
    /// Records that were sampled and dropped, since too many waited or the recording had ended.
    pub dropped: u64,
    /// Bytes of the file, those on the way to it counted.
    pub bytes: u64,
    /// 1: there is a recording; 0: the model is not recorded, and all else is 0.
    pub recorded: i32,
    /// Why the recording ended by itself: MODELSERVE_STATUS_LIMIT_EXCEEDED at `max_bytes`,
    /// MODELSERVE_STATUS_IO when the disk is full or broken; else 0.
    pub ended: modelserve_status,
    /// The message of `ended`, with a NUL; else empty.
    pub message: [c_char; MODELSERVE_MESSAGE_SIZE],
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_record_options_init(
    options: *mut modelserve_record_options,
    struct_size: usize,
) -> modelserve_status {
    let defaults =
        modelserve_record_options { sample: RecordOptions::default().sample, ..defaults() };
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults) }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says.
unsafe fn record_options(pointer: *const modelserve_record_options) -> Outcome<RecordOptions> {
    let mut options = RecordOptions::default();
    if pointer.is_null() {
        return Ok(options);
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    options.sample = c.sample;
    if c.max_bytes != 0 {
        options.max_bytes = c.max_bytes;
    }
    if c.max_pending_bytes != 0 {
        options.max_pending_bytes = c.max_pending_bytes;
    }
    if c.max_pending != 0 {
        options.max_pending = c.max_pending;
    }
    Ok(options)
}

/// Records a sample of the requests to `name`, with their answers, in a new file at `path`, until
/// `modelserve_manager_stop_recording`, a bound, or the unload of the model. Requests by pinned
/// handles are not recorded. `options` may be NULL.
///
/// No request waits for the disk, and none fails for it. The file holds what users sent; it is
/// readable by its owner alone. A forked child records nothing.
///
/// Errors: NOT_FOUND for the name or the folder; ALREADY_EXISTS when the model is recorded
/// already, or the file is there; INVALID_ARGUMENT for a share outside 0 to 1; PERMISSION_DENIED,
/// IO from the system.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_record(
    manager: modelserve_manager,
    name: *const c_char,
    path: *const c_char,
    options: *const modelserve_record_options,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, path, options) =
            unsafe { (text(name, "name")?, self::path(path, "path")?, record_options(options)?) };
        with_manager(manager, |manager| Ok(manager.record(name, path, options)?))
    })
}

/// How the recording of `name` stands.
///
/// Errors: NOT_FOUND for the name; a model that is not recorded is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_recording(
    manager: modelserve_manager,
    name: *const c_char,
    recording: *mut modelserve_recording,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, out) = unsafe { (text(name, "name")?, Out::new(recording, "recording")?) };
        let status = with_manager(manager, |manager| Ok(manager.recording(name)?))?;
        out.write(describe(status.as_ref()));
        Ok(())
    })
}

/// Ends the recording of `name` and writes what still waits for the disk. `recording`, which may
/// be NULL, is how it stood; its `recorded` is 0 when the model was not recorded.
///
/// Errors: NOT_FOUND for the name; a model that is not recorded is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_stop_recording(
    manager: modelserve_manager,
    name: *const c_char,
    recording: *mut modelserve_recording,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, out) = unsafe { (text(name, "name")?, Out::optional(recording, "recording")?) };
        let status = with_manager(manager, |manager| Ok(manager.stop_recording(name)?))?;
        if let Some(out) = out {
            out.write(describe(status.as_ref()));
        }
        Ok(())
    })
}

fn describe(status: Option<&RecordStatus>) -> modelserve_recording {
    let ended = status.and_then(|status| status.ended.as_deref());
    modelserve_recording {
        written: status.map_or(0, |status| status.written),
        dropped: status.map_or(0, |status| status.dropped),
        bytes: status.map_or(0, |status| status.bytes),
        recorded: i32::from(status.is_some()),
        ended: ended.map_or(MODELSERVE_STATUS_OK, |error| error.kind().code()),
        message: chars(&ended.map(ToString::to_string).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_the_defaults_and_a_share_of_none_is_none() {
        let default = RecordOptions::default();
        let mut options: modelserve_record_options = defaults();
        // SAFETY: a value of the right size.
        let read = unsafe { record_options(&raw const options) }.unwrap();
        assert_eq!(read.sample, 0.0);
        assert_eq!(
            (read.max_bytes, read.max_pending_bytes, read.max_pending),
            (default.max_bytes, default.max_pending_bytes, default.max_pending)
        );
        (options.max_bytes, options.max_pending_bytes, options.max_pending) = (7, 8, 9);
        // SAFETY: a value of the right size.
        let read = unsafe { record_options(&raw const options) }.unwrap();
        assert_eq!((read.max_bytes, read.max_pending_bytes, read.max_pending), (7, 8, 9));
    }
}
