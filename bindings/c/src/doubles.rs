//! Predicting rows of `double`: as `predict`, for models whose rows are doubles.

use crate::guard::guard;
use crate::handle::modelserve_model;
use crate::predict::{
    modelserve_batch, modelserve_prediction, row_with, row_with_scores, rows_into,
};
use crate::request::{modelserve_receipt, modelserve_request_options};
use crate::status::*;
use std::ptr;

/// As `modelserve_predict`, for a row of doubles: read as they are by a model whose input is of
/// doubles (LightGBM, CatBoost, some ONNX files), rounded to the nearest `float` for the others.
///
/// Errors: as `modelserve_predict`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_f64(
    model: modelserve_model,
    row: *const f64,
    width: usize,
    prediction: *mut modelserve_prediction,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with(model, row, width, ptr::null(), prediction, ptr::null_mut()) })
}

/// As `modelserve_predict_scores`, for a row of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_scores`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_scores_f64(
    model: modelserve_model,
    row: *const f64,
    width: usize,
    scores: *mut f64,
    scores_len: usize,
    prediction: *mut modelserve_prediction,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with_scores(model, row, width, scores, scores_len, prediction) })
}

/// As `modelserve_predict_batch`, for rows of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_batch`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch_f64(
    model: modelserve_model,
    rows: *const f64,
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

/// As `modelserve_predict_with`, for a row of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_with`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_with_f64(
    model: modelserve_model,
    row: *const f64,
    width: usize,
    options: *const modelserve_request_options,
    prediction: *mut modelserve_prediction,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { row_with(model, row, width, options, prediction, receipt) })
}

/// As `modelserve_predict_batch_with`, for rows of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_predict_batch_with`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_batch_with_f64(
    model: modelserve_model,
    rows: *const f64,
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
