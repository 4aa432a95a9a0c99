//! One version of a model by its number or label.

use crate::guard::guard;
use crate::handle::{Served, modelserve_manager, modelserve_model, with_manager};
use crate::model::hand_out;
use crate::pointer::{Out, optional_text, text};
use crate::request::target;
use crate::status::*;
use std::ffi::c_char;

/// A handle that keeps answering with one version of `name`, whatever is reloaded or unloaded
/// later, past its policies: the version `version` (0: none is named), or the one that `label`
/// (NULL: none is named) points to now, or, with neither, the serving one. `*model` is to be freed
/// with `modelserve_model_free`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the name, the version or the label; INVALID_ARGUMENT for
/// a version together with a label; for a version that could not be loaded, the error it ended
/// with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_lease(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
    label: *const c_char,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, label, out) = unsafe {
            (text(name, "name")?, optional_text(label, "label")?, Out::new(model, "model")?)
        };
        let target = target(version, label)?;
        let leased = with_manager(manager, |manager| Ok(manager.lease(name, &target)?))?;
        hand_out(Served::Named(leased), out)
    })
}

/// Whether a version of `name`, meant as in `modelserve_manager_lease`, can be asked without
/// loading anything: 1, or 0 while it is being loaded and where that failed.
///
/// Errors: INVALID_HANDLE; NOT_FOUND for the name, the version or the label; INVALID_ARGUMENT for
/// a version together with a label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_can_answer(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
    label: *const c_char,
    answer: *mut i32,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, label, out) = unsafe {
            (text(name, "name")?, optional_text(label, "label")?, Out::new(answer, "answer")?)
        };
        let target = target(version, label)?;
        let can = with_manager(manager, |manager| Ok(manager.can_answer(name, &target)?))?;
        out.write(i32::from(can));
        Ok(())
    })
}
