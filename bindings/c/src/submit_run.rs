//! The general call on the library's threads: the outputs come to a callback.

use crate::callback::UserData;
use crate::guard::guard;
use crate::handle::{self, Object, modelserve_model, modelserve_outputs, modelserve_request};
use crate::outputs::run_request;
use crate::pointer::{Out, c_string};
use crate::request::{context, modelserve_receipt, modelserve_request_options};
use crate::status::*;
use crate::submit::submit;
use crate::tensor::modelserve_tensor;
use modelserve::Reply;
use std::ffi::{c_char, c_void};
use std::ptr;

/// What a submitted run came to. With MODELSERVE_STATUS_OK `outputs` is a new handle, to be freed
/// with `modelserve_outputs_free` in the callback or at any later time, `receipt` is valid during
/// the call, and `error` is NULL. With any other status `outputs.id` is 0, `receipt` is NULL, and
/// `error` is valid during the call.
///
/// Must neither block for long nor leave by an exception or a jump. It may call any function of
/// this library.
pub type modelserve_run_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: modelserve_status,
        outputs: modelserve_outputs,
        receipt: *const modelserve_receipt,
        error: *const c_char,
    ),
>;

/// Asks for a run of the model on named tensors, given and copied as for `modelserve_run`, and
/// returns. The model never runs on the calling thread. `options` may be NULL.
///
/// `callback`, `user_data` and `request` are as for `modelserve_predict_submit`: on
/// MODELSERVE_STATUS_OK `callback` is called exactly once, on any other status never.
///
/// Errors: INVALID_HANDLE; INVALID_INPUT and INVALID_ARGUMENT for tensors that make no sense in
/// themselves, and for the options; LIMIT_EXCEEDED; NULL_ARGUMENT. To the callback: as
/// `modelserve_run_with`, and CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_run_submit(
    model: modelserve_model,
    inputs: *const modelserve_tensor,
    n_inputs: usize,
    outputs: *const *const c_char,
    n_outputs: usize,
    options: *const modelserve_request_options,
    callback: modelserve_run_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (ctx, out) = unsafe { (context(options)?, Out::optional(request, "request")?) };
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        // SAFETY: the caller's promise (crate documentation).
        let run = unsafe { run_request(inputs, n_inputs, outputs, n_outputs) }?;
        let user_data = UserData::new(user_data, None);
        let read = |reply: Reply| -> Outcome<modelserve_outputs> {
            let named = reply.into_tensors()?;
            Ok(modelserve_outputs { id: handle::insert(Object::Outputs(named))? })
        };
        submit(model, run, ctx, out, read, move |told| tell(callback, &user_data, told))
    })
}

fn tell(
    callback: unsafe extern "C" fn(
        *mut c_void,
        modelserve_status,
        modelserve_outputs,
        *const modelserve_receipt,
        *const c_char,
    ),
    user_data: &UserData,
    told: Outcome<(modelserve_outputs, modelserve_receipt)>,
) {
    let data = user_data.pointer();
    match told {
        Ok((outputs, receipt)) => {
            let receipt = &raw const receipt;
            // SAFETY: the caller's function with the caller's data, and a pointer to a value that
            // outlives the call.
            unsafe { callback(data, MODELSERVE_STATUS_OK, outputs, receipt, ptr::null()) }
        }
        Err(failure) => {
            let (none, error) = (modelserve_outputs { id: 0 }, c_string(&failure.message));
            // SAFETY: as above.
            unsafe { callback(data, failure.status, none, ptr::null(), error.as_ptr()) }
        }
    }
}
