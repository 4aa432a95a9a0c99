//! Predicting rows of `double` on the library's threads.

use crate::guard::guard;
use crate::handle::{modelserve_model, modelserve_request};
use crate::request::modelserve_request_options;
use crate::status::*;
use crate::submit::{modelserve_predict_callback, submit_row};
use crate::submit_batch::{modelserve_batch_callback, submit_rows};
use std::ffi::c_void;

/// As `modelserve_predict_submit`, for a row of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_submit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_submit_f64(
    model: modelserve_model,
    row: *const f64,
    width: usize,
    options: *const modelserve_request_options,
    callback: modelserve_predict_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { submit_row(model, row, width, options, callback, user_data, request) })
}

/// As `modelserve_predict_batch_submit`, for rows of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_batch_submit`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch_submit_f64(
    model: modelserve_model,
    rows: *const f64,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    options: *const modelserve_request_options,
    callback: modelserve_batch_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        submit_rows(model, rows, n_rows, width, row_stride, options, callback, user_data, request)
    })
}
