//! Predicting named columns on the library's threads.

use crate::guard::guard;
use crate::handle::{modelserve_model, modelserve_request};
use crate::pointer::Out;
use crate::request::{context, modelserve_request_options};
use crate::status::*;
use crate::submit_batch::{modelserve_batch_callback, submit_features};
use crate::tensor::{modelserve_tensor, tensors};
use modelserve::Features;
use std::ffi::c_void;

/// Asks for the predictions of the rows of `n_columns` named columns, given as for
/// `modelserve_predict_columns`, which are copied, and returns. The model never runs on the calling
/// thread; every row is answered by the same version. `options` may be NULL.
///
/// `callback`, `user_data` and `request` are as for `modelserve_predict_submit`: on
/// MODELSERVE_STATUS_OK `callback` is called exactly once, on any other status never.
///
/// Errors: INVALID_HANDLE; INVALID_INPUT and INVALID_ARGUMENT for columns that make no sense in
/// themselves, and for the options; LIMIT_EXCEEDED; NULL_ARGUMENT. To the callback: as
/// `modelserve_predict_columns`, and CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_columns_submit(
    model: modelserve_model,
    columns: *const modelserve_tensor,
    n_columns: usize,
    options: *const modelserve_request_options,
    callback: modelserve_batch_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (ctx, out, columns) = unsafe {
            (
                context(options)?,
                Out::optional(request, "request")?,
                tensors(columns, n_columns, "columns")?,
            )
        };
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        submit_features(model, Features::Columns(columns), ctx, out, callback, user_data)
    })
}
