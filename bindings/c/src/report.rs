//! What a manager tells of one of its models, as text.

use crate::guard::guard;
use crate::handle::{modelserve_manager, with_manager};
use crate::pointer::{TextOut, text};
use crate::status::*;
use modelserve::ModelManager;
use std::ffi::c_char;

/// Writes what `make` says of the model `name` into the caller's buffer.
///
/// # Safety
/// The pointers are as for a text function.
pub(crate) unsafe fn report(
    manager: modelserve_manager,
    name: *const c_char,
    (buf, len, needed): (*mut c_char, usize, *mut usize),
    make: impl FnOnce(&ModelManager, &str) -> Outcome<String>,
) -> modelserve_status {
    guard(|| {
        // SAFETY: promised by the caller.
        let (name, out) = unsafe { (text(name, "name")?, TextOut::new(buf, len, needed)?) };
        out.write(&with_manager(manager, |manager| make(manager, name))?)
    })
}
