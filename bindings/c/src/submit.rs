//! Predicting on the library's threads: the answer comes to a callback.

use crate::callback::UserData;
use crate::guard::{contained, guard};
use crate::handle::{self, Object, modelserve_model, modelserve_request, with_model, with_request};
use crate::pointer::{Out, c_string, slice};
use crate::predict::{Number, describe, modelserve_prediction};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use modelserve::{CancelToken, Ctx, Done, Reply, Request};
use std::ffi::{c_char, c_void};
use std::ptr;

/// What a submitted prediction came to. With MODELSERVE_STATUS_OK `prediction` and `receipt` are
/// there and `error` is NULL; with any other status it is the other way round. All three are
/// valid during the call only.
///
/// Must neither block for long nor leave by an exception or a jump. It may call any function of
/// this library.
pub type modelserve_predict_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: modelserve_status,
        prediction: *const modelserve_prediction,
        receipt: *const modelserve_receipt,
        error: *const c_char,
    ),
>;

/// Asks for the prediction of one row of `width` features, which are copied, and returns. The
/// model never runs on the calling thread. `options` may be NULL.
///
/// On MODELSERVE_STATUS_OK `callback` is called exactly once with `user_data`: on a thread of the
/// library, or, where no model has to run (a request refused at once, an answer in the cache),
/// on the calling thread before this returns. On any other status it is never called. Callbacks
/// of requests that a forked child finds under way stay the parent's.
///
/// `*request` is for cancelling, to be freed with `modelserve_request_free` at any time; it is
/// set before `callback` can be called. `request` may be NULL.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for the options; NULL_ARGUMENT. To the callback: as
/// `modelserve_predict_with`, and CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_submit(
    model: modelserve_model,
    row: *const f32,
    width: usize,
    options: *const modelserve_request_options,
    callback: modelserve_predict_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { submit_row(model, row, width, options, callback, user_data, request) })
}

/// # Safety
/// Every pointer is as `modelserve_predict_submit` says.
pub(crate) unsafe fn submit_row<T: Number>(
    model: modelserve_model,
    row: *const T,
    width: usize,
    options: *const modelserve_request_options,
    callback: modelserve_predict_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (row, ctx, out) = unsafe {
        (slice(row, width, "row")?, context(options)?, Out::optional(request, "request")?)
    };
    let callback = callback.ok_or_else(|| Failure::null("callback"))?;
    let row = Request::Row(T::features(row, 1, width)).into_owned()?;
    let user_data = UserData::new(user_data, None);
    let read = |reply: Reply| describe(&reply.into_row()?);
    submit(model, row, ctx, out, read, move |told| tell(callback, &user_data, told))
}

/// Hands a request to a model. Where this succeeds `tell` is called exactly once, with what `read`
/// makes of the reply, and else never. The request's number is written to `out` before that.
pub(crate) fn submit<T: 'static>(
    model: modelserve_model,
    request: Request<'static>,
    mut ctx: Ctx,
    out: Option<Out<modelserve_request>>,
    read: impl FnOnce(Reply) -> Outcome<T> + Send + 'static,
    tell: impl FnOnce(Outcome<(T, modelserve_receipt)>) + Send + 'static,
) -> Outcome {
    let served = with_model(model, |model| Ok(model.clone()))?;
    if let Some(out) = out {
        let token = CancelToken::default();
        let id = handle::insert(Object::Request(token.clone()))?;
        ctx.cancel = Some(token);
        out.write(modelserve_request { id });
    }
    // Nothing fails from here on but by way of the callback.
    if let Err(refused) = served.check_target(&ctx.target) {
        tell(Err(refused));
        return Ok(());
    }
    let asked = served.clone();
    let done = Done::new(move |reply, mut ctx| {
        let told = contained(|| {
            let answer = read(reply?)?;
            complete(&mut ctx.receipt, &asked);
            Ok((answer, describe_receipt(&ctx.receipt)))
        });
        // The lease on the model ends before the caller hears of the answer.
        drop(asked);
        tell(told);
    });
    // A panic on the way drops `done`, which tells the caller: no status on top of that.
    let _ = contained(|| {
        served.submit(request, ctx, done);
        Ok(())
    });
    Ok(())
}

fn tell(
    callback: unsafe extern "C" fn(
        *mut c_void,
        modelserve_status,
        *const modelserve_prediction,
        *const modelserve_receipt,
        *const c_char,
    ),
    user_data: &UserData,
    told: Outcome<(modelserve_prediction, modelserve_receipt)>,
) {
    let data = user_data.pointer();
    match told {
        // SAFETY: the caller's function with the caller's data, and pointers to values that
        // outlive the call.
        Ok((prediction, receipt)) => unsafe {
            let (prediction, receipt) = (&raw const prediction, &raw const receipt);
            callback(data, MODELSERVE_STATUS_OK, prediction, receipt, ptr::null());
        },
        Err(failure) => {
            let error = c_string(&failure.message);
            // SAFETY: as above.
            unsafe { callback(data, failure.status, ptr::null(), ptr::null(), error.as_ptr()) }
        }
    }
}

/// Asks for a submitted request to end. One that still waits is answered CANCELLED, a running
/// one ends at its next step, one that was answered already stays as it is. The callback is
/// called in any case.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_request_cancel(request: modelserve_request) -> modelserve_status {
    guard(|| {
        with_request(request, |token| {
            token.cancel();
            Ok(())
        })
    })
}

/// Frees the handle of a submitted request, which goes on. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_request_free(request: modelserve_request) -> modelserve_status {
    guard(|| handle::free_request(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Served, free_model};
    use modelserve::{Model, ModelInfo, Signature};
    use std::sync::Arc;

    /// A model that panics when a request is submitted.
    struct Panics(modelserve::FnModel);

    impl Model for Panics {
        fn signature(&self) -> Arc<Signature> {
            self.0.signature()
        }

        fn info(&self) -> ModelInfo {
            self.0.info()
        }

        fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> modelserve::Result<Reply> {
            self.0.call(request, ctx)
        }

        fn submit(self: Arc<Self>, _: Request<'static>, _: Ctx, _done: Done) {
            panic!("on the way");
        }
    }

    unsafe extern "C" fn note(
        user_data: *mut c_void,
        status: modelserve_status,
        _: *const modelserve_prediction,
        _: *const modelserve_receipt,
        _: *const c_char,
    ) {
        // SAFETY: the test passes a vector that outlives the call.
        unsafe { (*user_data.cast::<Vec<modelserve_status>>()).push(status) }
    }

    #[test]
    fn a_panic_on_the_way_is_told_once_and_by_the_callback() {
        let model = Panics(modelserve::FnModel::regressor(1, |row| Ok(row[0])));
        let id = handle::insert(Object::Model(Served::Alone(Arc::new(model)))).unwrap();
        let model = modelserve_model { id };
        let mut told: Vec<modelserve_status> = Vec::new();
        let row = [1f32];
        // SAFETY: all pointers are valid, or NULL where that is allowed.
        let status = unsafe {
            modelserve_predict_submit(
                model,
                row.as_ptr(),
                row.len(),
                ptr::null(),
                Some(note),
                (&raw mut told).cast(),
                ptr::null_mut(),
            )
        };
        assert_eq!((status, &*told), (MODELSERVE_STATUS_OK, &[MODELSERVE_STATUS_INTERNAL][..]));
        free_model(model).unwrap();
    }
}
