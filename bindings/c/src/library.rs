//! Functions about the library itself.

use crate::guard::{guard_value, with_last_error};
use crate::handle;
use crate::pointer::{buffer, fill, fitting};
use std::ffi::c_char;

/// The version of this interface; compare it with `modelserve_abi_version()`.
pub const MODELSERVE_ABI_VERSION: u32 = 1;

/// The version of the interface that the loaded library has. It grows with every change that
/// breaks programs compiled with an older header. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_abi_version() -> u32 {
    MODELSERVE_ABI_VERSION
}

/// The version of the library, `major.minor.patch`, as static text that must not be freed.
/// Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// How many handles have been given out and not freed yet. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_live_handles() -> usize {
    guard_value(0, handle::live)
}

/// Copies the message of the last call that failed on this thread into `buf`, as much of it as
/// fits in `len` bytes with a NUL. Empty after a call that succeeded. `buf` may be NULL.
///
/// Returns the length of the whole message without the NUL. Leaves the message as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_last_error(buf: *mut c_char, len: usize) -> usize {
    guard_value(0, || {
        with_last_error(|message| {
            // SAFETY: the caller's promise (crate documentation).
            if let Ok(buf) = unsafe { buffer(buf.cast::<u8>(), len, "buf") } {
                fill(buf, fitting(message, len).bytes().chain([0]));
            }
            message.len()
        })
    })
}
