//! Why a boosted model answers as it does.

use crate::guard::guard;
use crate::handle::{Served, modelserve_model, with_model};
use crate::pointer::{Out, buffer, fill};
use crate::predict::{Number, gathered};
use crate::status::*;
use modelserve::{ImportanceKind, Model};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// How many splits look at a feature.
pub const MODELSERVE_IMPORTANCE_SPLITS: i32 = 1;
/// What the splits of a feature gained in training, together.
pub const MODELSERVE_IMPORTANCE_TOTAL_GAIN: i32 = 2;
/// The same by split, on average.
pub const MODELSERVE_IMPORTANCE_GAIN: i32 = 3;
/// How much of the training data the splits of a feature saw, together.
pub const MODELSERVE_IMPORTANCE_TOTAL_COVER: i32 = 4;
/// The same by split, on average.
pub const MODELSERVE_IMPORTANCE_COVER: i32 = 5;

/// The numbers of a kind of importance, in the order of the library's list.
const KINDS: [(i32, ImportanceKind); 5] = [
    (MODELSERVE_IMPORTANCE_SPLITS, ImportanceKind::Splits),
    (MODELSERVE_IMPORTANCE_TOTAL_GAIN, ImportanceKind::TotalGain),
    (MODELSERVE_IMPORTANCE_GAIN, ImportanceKind::MeanGain),
    (MODELSERVE_IMPORTANCE_TOTAL_COVER, ImportanceKind::TotalCover),
    (MODELSERVE_IMPORTANCE_COVER, ImportanceKind::MeanCover),
];

/// What an explanation of a row is made of: `n_targets * (n_features + 1)` numbers. Holds no
/// pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_explanation {
    /// Margins of a row: one, or one a class or target.
    pub n_targets: usize,
    /// Features of a row.
    pub n_features: usize,
    /// The version that was explained.
    pub model_version: u64,
}

/// What each feature adds to the margins of `n_rows` rows of `width` features: Shapley values of
/// the trees (XGBoost's `pred_contribs`, LightGBM's `pred_contrib`). A margin is what the trees
/// add up to, before the objective's link (a log-odds for a logistic objective).
///
/// The model is one of XGBoost, LightGBM or CatBoost, loaded with
/// `modelserve_load_options.explain`. The rows lie as for `modelserve_predict_batch`.
///
/// `values` has room for `values_len` numbers and gets `[n_rows, n_targets, n_features + 1]`,
/// row-major: what each feature adds to the margin, and last what the margin is where nothing is
/// known of the row; together they are the margin. `*explanation` tells the sizes. With `values`
/// NULL and `values_len` 0 only they are asked for, which costs little: the rows are not looked at.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload; UNSUPPORTED for other models, without the
/// option, for linear leaves, and where the file does not say how much training data reached each
/// node; INVALID_INPUT for the rows; BUFFER_TOO_SMALL; INVALID_ARGUMENT for lengths and strides
/// that pass the address space; LIMIT_EXCEEDED for rows that would take minutes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_explain(
    model: modelserve_model,
    rows: *const f32,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    values: *mut f64,
    values_len: usize,
    explanation: *mut modelserve_explanation,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        explain(model, rows, n_rows, width, row_stride, values, values_len, explanation)
    })
}

/// As `modelserve_explain`, for rows of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_explain`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_explain_f64(
    model: modelserve_model,
    rows: *const f64,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    values: *mut f64,
    values_len: usize,
    explanation: *mut modelserve_explanation,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe {
        explain(model, rows, n_rows, width, row_stride, values, values_len, explanation)
    })
}

/// The number of the leaf that each of `n_rows` rows of `width` features ends at in each tree, by
/// the trainer's own count (XGBoost: the node's number; LightGBM: the leaf's). XGBoost's and
/// LightGBM's `pred_leaf`.
///
/// `leaves` has room for `leaves_len` numbers and gets `[n_rows, n_trees]`, row-major. `*n_trees`
/// is how many trees there are; with `leaves` NULL and `leaves_len` 0 only that is asked for. The
/// rows lie as for `modelserve_predict_batch`.
///
/// Errors: as `modelserve_explain`; UNSUPPORTED for a model without trees.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_apply(
    model: modelserve_model,
    rows: *const f32,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    leaves: *mut u32,
    leaves_len: usize,
    n_trees: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { apply(model, rows, n_rows, width, row_stride, leaves, leaves_len, n_trees) })
}

/// As `modelserve_apply`, for rows of doubles (see `modelserve_predict_f64`).
///
/// Errors: as `modelserve_apply`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_apply_f64(
    model: modelserve_model,
    rows: *const f64,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    leaves: *mut u32,
    leaves_len: usize,
    n_trees: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    guard(|| unsafe { apply(model, rows, n_rows, width, row_stride, leaves, leaves_len, n_trees) })
}

/// How much each feature matters to the whole model, told by `kind` (one of
/// `MODELSERVE_IMPORTANCE_*`).
///
/// `values` has room for `values_len` numbers and gets one a feature. `*n_features` is how many
/// there are; with `values` NULL and `values_len` 0 only that is asked for.
///
/// Errors: as `modelserve_explain`; UNSUPPORTED where the file has not what it is told by, and for
/// a model without trees; INVALID_ARGUMENT for the kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_importance(
    model: modelserve_model,
    kind: i32,
    values: *mut f64,
    values_len: usize,
    n_features: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (values, out) =
            unsafe { (buffer(values, values_len, "values")?, Out::new(n_features, "n_features")?) };
        let known = KINDS.iter().find(|(number, _)| *number == kind);
        let (_, kind) = known.ok_or_else(|| {
            Failure::argument(format!("'kind' is {kind}, expected 1 to {}", KINDS.len()))
        })?;
        let all = lease(model)?.importance(*kind)?;
        place(values, "values", all.len())?;
        out.write(all.len());
        fill(values, all);
        Ok(())
    })
}

/// The version that answers now, to be asked several times.
fn lease(model: modelserve_model) -> Outcome<Arc<dyn Model>> {
    with_model(model, |model| {
        Ok(match model {
            Served::Named(model) => model.current()?,
            Served::Alone(model) => Arc::clone(model),
        })
    })
}

/// Refuses a buffer without room for so many numbers; one without elements asks for none.
fn place<T>(buffer: &[MaybeUninit<T>], name: &str, needs: usize) -> Outcome {
    match buffer.len() {
        0 => Ok(()),
        has if has < needs => Err(Failure::too_small(name, has, needs)),
        _ => Ok(()),
    }
}

/// # Safety
/// Every pointer is as `modelserve_explain` says.
#[allow(clippy::too_many_arguments, reason = "those of the exported function")]
unsafe fn explain<T: Number>(
    model: modelserve_model,
    rows: *const T,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    values: *mut f64,
    values_len: usize,
    explanation: *mut modelserve_explanation,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (values, out) =
        unsafe { (buffer(values, values_len, "values")?, Out::new(explanation, "explanation")?) };
    let model = lease(model)?;
    let of_none = model.explain(T::features(&[], 0, width))?;
    if !values.is_empty() {
        let a_row = of_none.targets.saturating_mul(of_none.features.saturating_add(1));
        place(values, "values", n_rows.saturating_mul(a_row))?;
        // SAFETY: promised by the caller.
        let data = &*unsafe { gathered(rows, n_rows, width, row_stride) }?;
        fill(values, model.explain(T::features(data, n_rows, width))?.values);
    }
    out.write(modelserve_explanation {
        n_targets: of_none.targets,
        n_features: of_none.features,
        model_version: model.info().version,
    });
    Ok(())
}

/// # Safety
/// Every pointer is as `modelserve_apply` says.
#[allow(clippy::too_many_arguments, reason = "those of the exported function")]
unsafe fn apply<T: Number>(
    model: modelserve_model,
    rows: *const T,
    n_rows: usize,
    width: usize,
    row_stride: isize,
    leaves: *mut u32,
    leaves_len: usize,
    n_trees: *mut usize,
) -> Outcome {
    // SAFETY: promised by the caller.
    let (leaves, out) =
        unsafe { (buffer(leaves, leaves_len, "leaves")?, Out::new(n_trees, "n_trees")?) };
    let model = lease(model)?;
    let (trees, _) = model.apply(T::features(&[], 0, width))?;
    if !leaves.is_empty() {
        place(leaves, "leaves", n_rows.saturating_mul(trees))?;
        // SAFETY: promised by the caller.
        let data = &*unsafe { gathered(rows, n_rows, width, row_stride) }?;
        fill(leaves, model.apply(T::features(data, n_rows, width))?.1);
    }
    out.write(trees);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_importance_has_its_number() {
        assert_eq!(KINDS.map(|(_, kind)| kind), ImportanceKind::ALL);
        assert_eq!(KINDS.map(|(number, _)| number), [1, 2, 3, 4, 5]);
    }
}
