//! Predicting rows of `float`: one, or a batch into the caller's memory.

use crate::guard::guard;
use crate::handle::{Served, modelserve_model, with_model};
use crate::json::nanoseconds;
use crate::pointer::{Out, buffer, chars, fill, slice};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use crate::tensor::Strided;
use modelserve::tensor::Data;
use modelserve::{
    Answer, Answers, Classes, Features, Prediction, Predictions, Request, ScoreKind, Task,
};
use std::borrow::Cow;
use std::ffi::c_char;
use std::mem::MaybeUninit;

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
    fn predict_row(&self, row: &[f32]) -> Outcome<Prediction> {
        Ok(match self {
            Served::Named(model) => model.predict_row(row)?,
            Served::Alone(model) => model.predict_row(row)?,
        })
    }

    fn predict_batch(&self, rows: Features<'_>) -> Outcome<Predictions> {
        Ok(match self {
            Served::Named(model) => model.predict_batch(rows)?,
            Served::Alone(model) => model.predict_batch(rows)?,
        })
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
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (row, out) =
            unsafe { (slice(row, width, "row")?, Out::new(prediction, "prediction")?) };
        let answer = with_model(model, |model| model.predict_row(row))?;
        out.write(describe(&answer)?);
        Ok(())
    })
}

/// As `modelserve_predict`, and writes the row's numbers to `scores`, which has room for
/// `scores_len`: the scores of the classes (or the distances, or the outlier score), the numbers
/// of a regressor or transform, the labels of several as 0 and 1. `prediction->n_scores` of them.
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
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (row, scores, out) = unsafe {
            (
                slice(row, width, "row")?,
                buffer(scores, scores_len, "scores")?,
                Out::new(prediction, "prediction")?,
            )
        };
        let answer = with_model(model, |model| model.predict_row(row))?;
        let described = describe(&answer)?;
        room(scores, described.n_scores, "scores")?;
        match (&answer.answer, &answer.scores) {
            (Answer::Value(value), _) => fill(scores, [*value]),
            (Answer::Values(values), _) => fill(scores, values.iter().copied()),
            (_, Some(all)) => fill(scores, all.iter().copied()),
            // A count of yes and no is exact in a double.
            (Answer::Labels(labels), None) => fill(scores, labels.iter().map(|&x| x as f64)),
            _ => {}
        }
        out.write(described);
        Ok(())
    })
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
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (labels, scores, out) = unsafe {
            (
                buffer(labels, labels_len, "labels")?,
                buffer(scores, scores_len, "scores")?,
                Out::new(batch, "batch")?,
            )
        };
        // SAFETY: the caller's promise (crate documentation).
        let data = &*unsafe { gathered(rows, n_rows, width, row_stride) }?;
        let features = Features::F32 { data, rows: n_rows, width };
        let answers = with_model(model, |model| model.predict_batch(features))?;
        out.write(write_batch(&answers, labels, scores)?);
        Ok(())
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
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (row, mut ctx, out, receipt) = unsafe {
            (
                slice(row, width, "row")?,
                context(options)?,
                Out::new(prediction, "prediction")?,
                Out::optional(receipt, "receipt")?,
            )
        };
        let answer = with_model(model, |model| {
            let request = Request::Row(Features::F32 { data: row, rows: 1, width });
            let answer = model.call(&request, &mut ctx)?.into_row()?;
            complete(&mut ctx.receipt, model);
            Ok(answer)
        })?;
        out.write(describe(&answer)?);
        if let Some(receipt) = receipt {
            receipt.write(describe_receipt(&ctx.receipt));
        }
        Ok(())
    })
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
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (mut ctx, labels, scores, out, receipt) = unsafe {
            (
                context(options)?,
                buffer(labels, labels_len, "labels")?,
                buffer(scores, scores_len, "scores")?,
                Out::new(batch, "batch")?,
                Out::optional(receipt, "receipt")?,
            )
        };
        // SAFETY: the caller's promise (crate documentation).
        let data = &*unsafe { gathered(rows, n_rows, width, row_stride) }?;
        let answers = with_model(model, |model| {
            let request = Request::Batch(Features::F32 { data, rows: n_rows, width });
            let answers = model.call(&request, &mut ctx)?.into_batch()?;
            complete(&mut ctx.receipt, model);
            Ok(answers)
        })?;
        out.write(write_batch(&answers, labels, scores)?);
        if let Some(receipt) = receipt {
            receipt.write(describe_receipt(&ctx.receipt));
        }
        Ok(())
    })
}

/// The rows without gaps: the caller's own where they lie so, else a copy.
///
/// # Safety
/// Every offset of the rows holds a number during `'a`.
pub(crate) unsafe fn gathered<'a>(
    rows: *const f32,
    n_rows: usize,
    width: usize,
    row_stride: isize,
) -> Outcome<Cow<'a, [f32]>> {
    let total = n_rows.checked_mul(width);
    let total = total.ok_or_else(|| Failure::argument("n_rows * width overflows"))?;
    let dense = row_stride == 0
        || n_rows <= 1
        || usize::try_from(row_stride).is_ok_and(|stride| stride / 4 == width && stride % 4 == 0);
    if dense && (rows.is_aligned() || rows.is_null()) {
        // SAFETY: promised by the caller.
        return unsafe { slice(rows, total, "rows") }.map(Cow::Borrowed);
    }
    let dims = [n_rows, width];
    let dense = isize::try_from(width).ok().and_then(|w| w.checked_mul(4));
    let row = if row_stride == 0 { dense } else { Some(row_stride) };
    let row = row.ok_or_else(|| Failure::argument("'width' passes the address space"))?;
    let strides = [row, 4];
    let strided = Strided::new(rows.cast(), &dims, &strides, "rows")?;
    // SAFETY: promised by the caller.
    unsafe { strided.gather::<f32>() }.map(Cow::Owned)
}

fn named_outputs() -> Failure {
    Failure::new(
        MODELSERVE_STATUS_UNSUPPORTED,
        "the model answers named tensors and no labels or values: use modelserve_run",
    )
}

fn room<T>(place: &[MaybeUninit<T>], needs: usize, name: &str) -> Outcome {
    if place.len() < needs {
        return Err(Failure::too_small(name, place.len(), needs));
    }
    Ok(())
}

fn scores_kind(has: bool, kind: ScoreKind) -> i32 {
    match (has, kind) {
        (false, _) => MODELSERVE_SCORES_NONE,
        (true, ScoreKind::Probabilities) => MODELSERVE_SCORES_PROBABILITIES,
        (true, ScoreKind::Scores) => MODELSERVE_SCORES_OTHER,
    }
}

fn text_index(classes: Option<&Classes>, label: &str) -> i64 {
    match classes {
        Some(Classes::Str(all)) => index(all.iter().position(|class| class.as_ref() == label)),
        _ => -1,
    }
}

fn index(position: Option<usize>) -> i64 {
    position.and_then(|i| i64::try_from(i).ok()).unwrap_or(-1)
}

pub(crate) fn describe(prediction: &Prediction) -> Outcome<modelserve_prediction> {
    let scores = prediction.scores.as_deref();
    let mut c = modelserve_prediction {
        answer: MODELSERVE_ANSWER_INT,
        scores_kind: scores_kind(scores.is_some(), prediction.scores_kind),
        label: 0,
        class_index: -1,
        value: f64::NAN,
        probability: prediction.probability.unwrap_or(f64::NAN),
        n_scores: scores.unwrap_or_default().len(),
        model_version: prediction.model_version,
        latency_ns: nanoseconds(prediction.latency),
        label_text: [0; MODELSERVE_LABEL_TEXT_SIZE],
    };
    let classes = prediction.classes.as_deref();
    match &prediction.answer {
        Answer::Int(label) => {
            c.label = *label;
            if let Some(Classes::Int(all)) = classes {
                c.class_index = index(all.iter().position(|class| class == label));
            }
        }
        Answer::Str(label) => {
            c.answer = MODELSERVE_ANSWER_TEXT;
            c.class_index = text_index(classes, label);
            c.label = c.class_index;
            c.label_text = chars(label);
        }
        Answer::Value(value) => {
            c.answer = MODELSERVE_ANSWER_VALUE;
            c.value = *value;
            c.n_scores = 1;
        }
        Answer::Values(values) => {
            c.answer = MODELSERVE_ANSWER_VALUES;
            c.value = values.first().copied().unwrap_or(f64::NAN);
            c.n_scores = values.len();
        }
        Answer::Labels(labels) => {
            c.answer = MODELSERVE_ANSWER_LABELS;
            if prediction.scores.is_none() {
                c.n_scores = labels.len();
            }
        }
        _ => return Err(named_outputs()),
    }
    Ok(c)
}

/// Checks that everything fits, then writes all of it.
pub(crate) fn write_batch(
    predictions: &Predictions,
    labels: &mut [MaybeUninit<i64>],
    scores: &mut [MaybeUninit<f64>],
) -> Outcome<modelserve_batch> {
    let rows = predictions.rows;
    let (answer, label_tensor, numbers) = match &predictions.answers {
        Answers::Labels(all) => {
            let text = matches!(all.data(), Data::String(_));
            let answer = if text { MODELSERVE_ANSWER_TEXT } else { MODELSERVE_ANSWER_INT };
            (answer, Some(all), predictions.scores.as_ref())
        }
        Answers::Values(all) => {
            let one = all.len() == rows && predictions.task != Task::Transform;
            let answer = if one { MODELSERVE_ANSWER_VALUE } else { MODELSERVE_ANSWER_VALUES };
            (answer, None, Some(all))
        }
        Answers::Multilabel(all) => {
            (MODELSERVE_ANSWER_LABELS, Some(all), Some(predictions.scores.as_ref().unwrap_or(all)))
        }
        _ => return Err(named_outputs()),
    };
    if let (Some(all), false) = (label_tensor, labels.is_empty()) {
        room(labels, all.len(), "labels")?;
    }
    if let (Some(all), false) = (numbers, scores.is_empty()) {
        room(scores, all.len(), "scores")?;
        match all.data() {
            Data::F32(all) => fill(scores, all.iter().map(|&x| f64::from(x))),
            _ => fill(scores, all.to_f64_vec()?),
        }
    }
    let classes = predictions.classes.as_deref();
    match label_tensor.map(|all| all.data()) {
        Some(Data::String(all)) => fill(labels, all.iter().map(|label| text_index(classes, label))),
        Some(Data::I64(all)) => fill(labels, all.iter().copied()),
        _ => {}
    }
    let a_row = |len: usize| len.checked_div(rows).unwrap_or(0);
    Ok(modelserve_batch {
        answer,
        scores_kind: scores_kind(predictions.scores.is_some(), predictions.scores_kind),
        n_labels: label_tensor.map_or(0, |all| a_row(all.len())),
        n_scores: numbers.map_or(0, |all| a_row(all.len())),
        model_version: predictions.model_version,
        latency_ns: nanoseconds(predictions.latency),
    })
}
