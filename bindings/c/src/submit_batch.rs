//! Predicting batches on the library's threads: the answers come to a callback.

use crate::callback::UserData;
use crate::guard::guard;
use crate::handle::{modelserve_model, modelserve_request};
use crate::pointer::{Out, c_string};
use crate::predict::{Number, gathered, modelserve_batch, write_batch};
use crate::request::{context, modelserve_receipt, modelserve_request_options};
use crate::status::*;
use crate::submit::submit;
use modelserve::tensor::{Element, Tensor};
use modelserve::{Ctx, Features, Predictions, Reply, Request};
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// The answers for a submitted batch. Valid, with all that it points to, during the call of the
/// callback only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_batch_answers {
    /// What the rows have in common.
    pub batch: modelserve_batch,
    /// How many rows were answered.
    pub n_rows: usize,
    /// `n_rows * batch.n_labels` labels, as `modelserve_predict_batch` writes them; NULL where
    /// there are none.
    pub labels: *const i64,
    /// `n_rows * batch.n_scores` scores or numbers, row-major; NULL where there are none.
    pub scores: *const f64,
}

/// What a submitted batch came to. With MODELSERVE_STATUS_OK `answers` and `receipt` are there and
/// `error` is NULL; with any other status it is the other way round. All three are valid during
/// the call only.
///
/// Must neither block for long nor leave by an exception or a jump. It may call any function of
/// this library.
pub type modelserve_batch_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: modelserve_status,
        answers: *const modelserve_batch_answers,
        receipt: *const modelserve_receipt,
        error: *const c_char,
    ),
>;

/// Asks for the predictions of `n_rows` rows, laid out as for `modelserve_predict_batch`, which
/// are copied, and returns. The model never runs on the calling thread; every row is answered by
/// the same version. `options` may be NULL.
///
/// `callback`, `user_data` and `request` are as for `modelserve_predict_submit`: on
/// MODELSERVE_STATUS_OK `callback` is called exactly once, on any other status never.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for the options, and for lengths and strides that
/// pass the address space; LIMIT_EXCEEDED; NULL_ARGUMENT. To the callback: as
/// `modelserve_predict_batch_with`, and CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch_submit(
    model: modelserve_model,
    rows: *const f32,
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

/// # Safety
/// Every pointer is as `modelserve_predict_batch_submit` says.
#[allow(clippy::too_many_arguments, reason = "those of the exported function")]
pub(crate) unsafe fn submit_rows<T: Number + Element>(
    model: modelserve_model,
    rows: *const T,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    options: *const modelserve_request_options,
    callback: modelserve_batch_callback,
    user_data: *mut c_void,
    request: *mut modelserve_request,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (ctx, out) = unsafe { (context(options)?, Out::optional(request, "request")?) };
    let callback = callback.ok_or_else(|| Failure::null("callback"))?;
    // SAFETY: promised by the caller.
    let rows = unsafe { gathered(rows, n_rows, width, row_stride) }?.into_owned();
    let rows = Tensor::from_vec(&[n_rows, width], rows)?;
    submit_features(model, Features::Tensor(rows), ctx, out, callback, user_data)
}

/// Submits rows that the library owns, for `callback` to be told.
pub(crate) fn submit_features(
    model: modelserve_model,
    rows: Features<'static>,
    ctx: Ctx,
    out: Option<Out<modelserve_request>>,
    callback: Told,
    user_data: *mut c_void,
) -> Outcome {
    let user_data = UserData::new(user_data, None);
    let read = |reply: Reply| Columns::of(&reply.into_batch()?);
    submit(model, Request::Batch(rows), ctx, out, read, move |told| {
        tell(callback, &user_data, told);
    })
}

/// The answers of a batch, in memory for the callback to read.
struct Columns {
    batch: modelserve_batch,
    rows: usize,
    labels: Vec<MaybeUninit<i64>>,
    scores: Vec<MaybeUninit<f64>>,
}

impl Columns {
    fn of(predictions: &Predictions) -> Outcome<Columns> {
        let rows = predictions.rows;
        // How much room they need, before there is any.
        let shape = write_batch(predictions, &mut [], &mut [])?;
        let mut labels = vec![MaybeUninit::new(0); rows.saturating_mul(shape.n_labels)];
        let mut scores = vec![MaybeUninit::new(0.0); rows.saturating_mul(shape.n_scores)];
        let batch = write_batch(predictions, &mut labels, &mut scores)?;
        Ok(Columns { batch, rows, labels, scores })
    }

    /// As the callback sees them, as long as `self` lives.
    fn answers(&self) -> modelserve_batch_answers {
        modelserve_batch_answers {
            batch: self.batch,
            n_rows: self.rows,
            // Every element was initialised when it was made.
            labels: pointer(&self.labels).cast(),
            scores: pointer(&self.scores).cast(),
        }
    }
}

fn pointer<T>(all: &[T]) -> *const T {
    if all.is_empty() { ptr::null() } else { all.as_ptr() }
}

/// A callback that is there.
pub(crate) type Told = unsafe extern "C" fn(
    *mut c_void,
    modelserve_status,
    *const modelserve_batch_answers,
    *const modelserve_receipt,
    *const c_char,
);

fn tell(callback: Told, user_data: &UserData, told: Outcome<(Columns, modelserve_receipt)>) {
    let data = user_data.pointer();
    match told {
        Ok((columns, receipt)) => {
            let answers = columns.answers();
            let (answers, receipt) = (&raw const answers, &raw const receipt);
            // SAFETY: the caller's function with the caller's data, and pointers to values that
            // outlive the call.
            unsafe { callback(data, MODELSERVE_STATUS_OK, answers, receipt, ptr::null()) }
        }
        Err(failure) => {
            let error = c_string(&failure.message);
            // SAFETY: as above.
            unsafe { callback(data, failure.status, ptr::null(), ptr::null(), error.as_ptr()) }
        }
    }
}
