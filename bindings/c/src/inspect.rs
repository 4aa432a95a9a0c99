//! Looking at a model file without loading it.

use crate::guard::guard;
use crate::options::{load_options, modelserve_load_options};
use crate::pointer::{TextOut, path, slice};
use crate::status::*;
use std::ffi::c_char;

/// What the model file at `path` holds, as a JSON object, whether or not it can be loaded: `format`,
/// `producer`, `producer_version`, `ir_version`, `model_version`, `domain`, `doc_string`,
/// `metadata`, `opsets`, `inputs` and `outputs` (each `name`, `type`, `dtype`, `shape`), `meaning`,
/// `operators` (each `domain`, `name`, `opset`, `count`, `local_function`, `supported`),
/// `functions`, `weights`, `tensors`, `external`, `memory`, `boosters`, `description`, `loadable`,
/// and `problems`: everything that keeps it from being loaded (each `kind`, `message`, `operator`,
/// `opset`, `nodes`, `count`).
///
/// Nothing is asked of the model. `options` may be NULL. The file is looked at in every call: give
/// a buffer at once (64 KiB are enough for most files) rather than ask for the length first.
///
/// Errors: NOT_FOUND, IO, PERMISSION_DENIED, LIMIT_EXCEEDED, INVALID_ARGUMENT where the file cannot
/// be read (what is wrong with its content is a problem, not an error); BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_inspect_json(
    path: *const c_char,
    options: *const modelserve_load_options,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (path, options, out) = unsafe {
            (self::path(path, "path")?, load_options(options)?, TextOut::new(buf, len, needed)?)
        };
        out.write(&modelserve::inspect_with(path, &options)?.to_json()?)
    })
}

/// As `modelserve_inspect_json` for the `size` bytes of a model file, which have no files beside
/// them.
///
/// Errors: INVALID_ARGUMENT for the options; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_inspect_bytes_json(
    bytes: *const u8,
    size: usize,
    options: *const modelserve_load_options,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (bytes, options, out) = unsafe {
            (slice(bytes, size, "bytes")?, load_options(options)?, TextOut::new(buf, len, needed)?)
        };
        out.write(&modelserve::inspect_bytes(bytes.to_vec(), &options)?.to_json()?)
    })
}
