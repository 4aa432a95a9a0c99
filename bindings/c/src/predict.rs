//! Predicting rows of `float`: one, or a batch into the caller's memory.

use crate::guard::guard;
use crate::handle::{Served, modelserve_model, with_model};
use crate::json::nanoseconds;
use crate::pointer::{Out, buffer, chars, slice};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use crate::tensor::Strided;
use modelserve::{
    AnswerKind, Buffers, Classes, Ctx, Features, Prediction, Predictions, Request, ScoreKind,
    Written,
};
use std::borrow::Cow;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr;

/// An integer label, in `label`.
pub const MODELSERVE_ANSWER_INT: i32 = 1;
/// A text label, in `label_text`; `label` is its class's index.
pub const MODELSERVE_ANSWER_TEXT: i32 = 2;
/// One number, in `value`.
pub const MODELSERVE_ANSWER_VALUE: i32 = 3;
/// Several numbers: the first in `value`, all by `modelserve_predict_scores`.
pub const MODELSERVE_ANSWER_VALUES: i32 = 4;
/// Several yes/no labels: all by `modelserve_predict_scores`.
pub const MODELSERVE_ANSWER_LABELS: i32 = 5;

/// There are no scores.
pub const MODELSERVE_SCORES_NONE: i32 = 0;
/// The scores are probabilities.
pub const MODELSERVE_SCORES_PROBABILITIES: i32 = 1;
/// The scores are decision values, distances, votes…
pub const MODELSERVE_SCORES_OTHER: i32 = 2;

/// Bytes of `modelserve_prediction.label_text`.
pub const MODELSERVE_LABEL_TEXT_SIZE: usize = 64;

/// The prediction for one row. Holds no pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_prediction {
    /// One of `MODELSERVE_ANSWER_*`.
    pub answer: i32,
    /// One of `MODELSERVE_SCORES_*`.
    pub scores_kind: i32,
    /// The integer label; for text labels the class's index; 0 where the answer is no label.
    pub label: i64,
    /// The index of the label among the classes, -1 where there is none.
    pub class_index: i64,
    /// The number answered (the first of several), NaN where the answer is a label.
    pub value: f64,
    /// The label's probability, NaN where the scores are no probabilities.
    pub probability: f64,
    /// How many numbers `modelserve_predict_scores` gives for a row.
    pub n_scores: usize,
    /// The version that answered.
    pub model_version: u64,
    /// Nanoseconds the call took inside the library.
    pub latency_ns: u64,
    /// A text label with its NUL, cut between characters where it does not fit
    /// (`modelserve_model_class_label` has all of it). Empty for other answers.
    pub label_text: [c_char; MODELSERVE_LABEL_TEXT_SIZE],
}

/// What a batch's answers have in common.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_batch {
    /// One of `MODELSERVE_ANSWER_*`.
    pub answer: i32,
    /// One of `MODELSERVE_SCORES_*`.
    pub scores_kind: i32,
    /// Labels a row: 1, or more for MODELSERVE_ANSWER_LABELS; 0 where the answers are numbers.
    pub n_labels: usize,
    /// Scores a row (classes), or numbers a row (regressors, transforms); 0 where there are none.
    pub n_scores: usize,
    /// The version that answered every row.
    pub model_version: u64,
    /// Nanoseconds the call took inside the library.
    pub latency_ns: u64,
}

impl Served {
    /// Answers a request in the calling thread, into the caller's memory.
    pub(crate) fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Outcome<Written> {
        self.check_target(&ctx.target)?;
        Ok(match self {
            Served::Named(model) => model.call_into(request, out, ctx)?,
            Served::Alone(model) => model.call_into(request, out, ctx)?,
        })
    }
}

/// What the rows of a caller are of.
pub(crate) trait Number: Copy {
    /// The rows, read in place.
    fn features(data: &[Self], rows: usize, width: usize) -> Features<'_>;
}

impl Number for f32 {
    fn features(data: &[f32], rows: usize, width: usize) -> Features<'_> {
        Features::F32 { data, rows, width }
    }
}

impl Number for f64 {
    fn features(data: &[f64], rows: usize, width: usize) -> Features<'_> {
        Features::F64 { data, rows, width }
    }
}

/// Predicts one row of `width` features.
///
/// Errors: INVALID_HANDLE; INVALID_INPUT when the model takes another number of features;
/// NOT_FOUND after an unload; UNSUPPORTED when the model answers named tensors (use
/// `modelserve_run`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict(
    model: modelserve_model,
    row: *const f32,
    width: usize,
    prediction: *mut modelserve_prediction,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with(model, row, width, ptr::null(), prediction, ptr::null_mut()) })
}

/// As `modelserve_predict`, and writes the row's numbers to `scores`, which has room for
/// `scores_len`: the scores of the classes (or the distances, or the outlier score), the numbers
/// of a regressor or transform, the labels of several as 0 and 1. `prediction->n_scores` of them.
/// For a model with the fast path (`fast_path` of `modelserve_model_info`) nothing is allocated.
///
/// Errors: BUFFER_TOO_SMALL, and as `modelserve_predict`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_scores(
    model: modelserve_model,
    row: *const f32,
    width: usize,
    scores: *mut f64,
    scores_len: usize,
    prediction: *mut modelserve_prediction,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with_scores(model, row, width, scores, scores_len, prediction) })
}

/// Predicts `n_rows` rows of `width` features; every row is answered by the same version.
///
/// Row `i` begins `i * row_stride` bytes after `rows` (0: the rows follow each other without
/// gaps; negative strides are fine) and its features follow each other without gaps.
///
/// `labels` has room for `labels_len` labels, `batch->n_labels` a row: integer labels, or the
/// class's index for text labels (-1 for a label that is no class). `scores` has room for
/// `scores_len` numbers, `batch->n_scores` a row, row-major. Either may be NULL, with a length of
/// 0, where it is not wanted. Models that answer numbers have no labels: `labels` stays as it is.
/// For a model with the fast path nothing is allocated, unless the rows have gaps or the batch is
/// large enough to be split between threads.
///
/// Errors: BUFFER_TOO_SMALL when either is given and too short; INVALID_ARGUMENT for lengths and
/// strides that pass the address space; LIMIT_EXCEEDED; and as `modelserve_predict`. Then nothing
/// is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch(
    model: modelserve_model,
    rows: *const f32,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    labels: *mut i64,
    labels_len: usize,
    scores: *mut f64,
    scores_len: usize,
    batch: *mut modelserve_batch,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        let (options, receipt) = (ptr::null(), ptr::null_mut());
        rows_into(
            model, rows, n_rows, width, row_stride, options, labels, labels_len, scores,
            scores_len, batch, receipt,
        )
    })
}

/// As `modelserve_predict`, with options and a receipt; either may be NULL.
///
/// Errors: INVALID_ARGUMENT for the options; NOT_FOUND for a version or label that is not there;
/// DEADLINE_EXCEEDED; OVERLOADED and NOT_READY as the model's policies say; and as
/// `modelserve_predict`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_with(
    model: modelserve_model,
    row: *const f32,
    width: usize,
    options: *const modelserve_request_options,
    prediction: *mut modelserve_prediction,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with(model, row, width, options, prediction, receipt) })
}

/// As `modelserve_predict_batch`, with options and a receipt; either may be NULL.
///
/// Errors: as `modelserve_predict_with` and `modelserve_predict_batch`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch_with(
    model: modelserve_model,
    rows: *const f32,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    options: *const modelserve_request_options,
    labels: *mut i64,
    labels_len: usize,
    scores: *mut f64,
    scores_len: usize,
    batch: *mut modelserve_batch,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        rows_into(
            model, rows, n_rows, width, row_stride, options, labels, labels_len, scores,
            scores_len, batch, receipt,
        )
    })
}

/// # Safety
/// Every pointer is as `modelserve_predict_scores` says.
pub(crate) unsafe fn row_with_scores<T: Number>(
    model: modelserve_model,
    row: *const T,
    width: usize,
    scores: *mut f64,
    scores_len: usize,
    prediction: *mut modelserve_prediction,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (row, scores, out) = unsafe {
        (
            slice(row, width, "row")?,
            buffer(scores, scores_len, "scores")?,
            Out::new(prediction, "prediction")?,
        )
    };
    let request = Request::Row(T::features(row, 1, width));
    let mut buffers = Buffers::default().scores_f64_uninit(scores);
    let answer =
        with_model(model, |model| model.call_into(&request, &mut buffers, &mut Ctx::default()))?;
    out.write(describe_row(&written(answer)?)?);
    Ok(())
}

/// # Safety
/// Every pointer is as `modelserve_predict_with` says.
pub(crate) unsafe fn row_with<T: Number>(
    model: modelserve_model,
    row: *const T,
    width: usize,
    options: *const modelserve_request_options,
    prediction: *mut modelserve_prediction,
    receipt: *mut modelserve_receipt,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (row, mut ctx, out, receipt) = unsafe {
        (
            slice(row, width, "row")?,
            context(options)?,
            Out::new(prediction, "prediction")?,
            Out::optional(receipt, "receipt")?,
        )
    };
    let request = Request::Row(T::features(row, 1, width));
    let answer = with_model(model, |model| {
        let answer = model.call_into(&request, &mut Buffers::default(), &mut ctx)?;
        if receipt.is_some() {
            complete(&mut ctx.receipt, model);
        }
        Ok(answer)
    })?;
    out.write(describe_row(&answer)?);
    if let Some(receipt) = receipt {
        receipt.write(describe_receipt(&ctx.receipt));
    }
    Ok(())
}

/// # Safety
/// Every pointer is as `modelserve_predict_batch_with` says.
#[allow(clippy::too_many_arguments, reason = "those of the exported function")]
pub(crate) unsafe fn rows_into<T: Number>(
    model: modelserve_model,
    rows: *const T,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    options: *const modelserve_request_options,
    labels: *mut i64,
    labels_len: usize,
    scores: *mut f64,
    scores_len: usize,
    batch: *mut modelserve_batch,
    receipt: *mut modelserve_receipt,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (mut ctx, labels, scores, out, receipt) = unsafe {
        (
            context(options)?,
            buffer(labels, labels_len, "labels")?,
            buffer(scores, scores_len, "scores")?,
            Out::new(batch, "batch")?,
            Out::optional(receipt, "receipt")?,
        )
    };
    // SAFETY: promised by the caller.
    let data = &*unsafe { gathered(rows, n_rows, width, row_stride) }?;
    let request = Request::Batch(T::features(data, n_rows, width));
    let answers = with_model(model, |model| {
        let answers = model.call_into(&request, &mut wanted(labels, scores), &mut ctx)?;
        if receipt.is_some() {
            complete(&mut ctx.receipt, model);
        }
        Ok(answers)
    })?;
    out.write(describe_batch(&written(answers)?));
    if let Some(receipt) = receipt {
        receipt.write(describe_receipt(&ctx.receipt));
    }
    Ok(())
}

/// The buffers of the caller; one without elements is not wanted.
pub(crate) fn wanted<'a>(
    labels: &'a mut [MaybeUninit<i64>],
    scores: &'a mut [MaybeUninit<f64>],
) -> Buffers<'a> {
    let mut out = Buffers::default();
    if !labels.is_empty() {
        out = out.labels_uninit(labels);
    }
    if !scores.is_empty() {
        out = out.scores_f64_uninit(scores);
    }
    out
}

/// What was written, where all of it was.
pub(crate) fn written(answers: Written) -> Outcome<Written> {
    match answers.too_short {
        Some(short) => Err(Failure::too_small(short.buffer, short.has, short.needs)),
        None => Ok(answers),
    }
}

/// The rows without gaps: the caller's own where they lie so, else a copy.
///
/// # Safety
/// Every offset of the rows holds a number during `'a`.
pub(crate) unsafe fn gathered<'a, T: Copy>(
    rows: *const T,
    n_rows: usize,
    width: usize,
    row_stride: isize,
) -> Outcome<Cow<'a, [T]>> {
    let size = size_of::<T>();
    let total = n_rows.checked_mul(width);
    let total = total.ok_or_else(|| Failure::argument("n_rows * width overflows"))?;
    let dense = row_stride == 0
        || n_rows <= 1
        || usize::try_from(row_stride)
            .is_ok_and(|stride| stride / size == width && stride % size == 0);
    if dense && (rows.is_aligned() || rows.is_null()) {
        // SAFETY: promised by the caller.
        return unsafe { slice(rows, total, "rows") }.map(Cow::Borrowed);
    }
    let dims = [n_rows, width];
    let step = isize::try_from(size).unwrap_or(isize::MAX);
    let dense = isize::try_from(width).ok().and_then(|w| w.checked_mul(step));
    let row = if row_stride == 0 { dense } else { Some(row_stride) };
    let row = row.ok_or_else(|| Failure::argument("'width' passes the address space"))?;
    let strides = [row, step];
    let strided = Strided::new(rows.cast(), &dims, &strides, "rows")?;
    // SAFETY: promised by the caller.
    unsafe { strided.gather::<T>() }.map(Cow::Owned)
}

fn scores_kind(kind: Option<ScoreKind>) -> i32 {
    match kind {
        None => MODELSERVE_SCORES_NONE,
        Some(ScoreKind::Probabilities) => MODELSERVE_SCORES_PROBABILITIES,
        Some(ScoreKind::Scores) => MODELSERVE_SCORES_OTHER,
    }
}

fn index(position: Option<usize>) -> i64 {
    position.and_then(|i| i64::try_from(i).ok()).unwrap_or(-1)
}

pub(crate) fn describe(prediction: &Prediction) -> Outcome<modelserve_prediction> {
    describe_row(&prediction.write(&mut Buffers::default())?)
}

/// What a row's answer says, its scores apart.
fn describe_row(written: &Written) -> Outcome<modelserve_prediction> {
    let defect = || Failure::new(MODELSERVE_STATUS_INTERNAL, "a row was answered as a batch");
    let row = written.row.as_ref().ok_or_else(defect)?;
    let mut c = modelserve_prediction {
        answer: answer(written.answer),
        scores_kind: scores_kind(written.scores_kind),
        label: row.label,
        class_index: -1,
        value: row.value,
        probability: row.probability.unwrap_or(f64::NAN),
        n_scores: written.scores,
        model_version: written.model_version,
        latency_ns: nanoseconds(written.latency),
        label_text: [0; MODELSERVE_LABEL_TEXT_SIZE],
    };
    match (&row.text, written.classes.as_deref()) {
        (Some(text), _) => {
            c.class_index = row.label;
            c.label_text = chars(text);
        }
        (None, Some(Classes::Int(all))) if written.answer == AnswerKind::Int => {
            c.class_index = index(all.iter().position(|class| *class == row.label));
        }
        _ => {}
    }
    Ok(c)
}

fn answer(kind: AnswerKind) -> i32 {
    match kind {
        AnswerKind::Str => MODELSERVE_ANSWER_TEXT,
        AnswerKind::Value => MODELSERVE_ANSWER_VALUE,
        AnswerKind::Values => MODELSERVE_ANSWER_VALUES,
        AnswerKind::Labels => MODELSERVE_ANSWER_LABELS,
        _ => MODELSERVE_ANSWER_INT,
    }
}

pub(crate) fn describe_batch(rows: &Written) -> modelserve_batch {
    // Without rows there are none to have labels or scores.
    let of_rows = |a_row: usize| if rows.rows == 0 { 0 } else { a_row };
    modelserve_batch {
        answer: answer(rows.answer),
        scores_kind: scores_kind(rows.scores_kind),
        n_labels: of_rows(rows.labels),
        n_scores: of_rows(rows.scores),
        model_version: rows.model_version,
        latency_ns: nanoseconds(rows.latency),
    }
}

/// Checks that everything fits, then writes all of it.
pub(crate) fn write_batch(
    predictions: &Predictions,
    labels: &mut [MaybeUninit<i64>],
    scores: &mut [MaybeUninit<f64>],
) -> Outcome<modelserve_batch> {
    let answers = predictions.write(&mut wanted(labels, scores))?;
    Ok(describe_batch(&written(answers)?))
}
