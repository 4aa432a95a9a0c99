//! Predicting rows that come as named columns of any element type.

use crate::guard::guard;
use crate::handle::{modelserve_model, with_model};
use crate::pointer::{Out, buffer};
use crate::predict::{modelserve_batch, write_batch};
use crate::request::{
    complete, context, describe_receipt, modelserve_receipt, modelserve_request_options,
};
use crate::status::*;
use crate::tensor::{modelserve_tensor, tensors};
use modelserve::{Features, Request};

/// Predicts the rows of `n_columns` named columns, which are copied: the model's inputs by name,
/// or, for a model with a single wide input, its features (`modelserve_load_options.feature_names`
/// or the file name them). Each has the dimensions `[n_rows]` or `[n_rows, …]` and any element
/// type, which is converted to the input's; text too. Every row is answered by the same version.
///
/// `labels`, `scores` and `batch` are as for `modelserve_predict_batch`. `options` and `receipt`
/// may be NULL.
///
/// Errors: INVALID_INPUT for columns that are missing, unknown, of unlike lengths or not to be
/// converted; otherwise as `modelserve_predict_batch_with` and `modelserve_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_predict_columns(
    model: modelserve_model,
    columns: *const modelserve_tensor,
    n_columns: usize,
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
        let (mut ctx, labels, scores, out, receipt, columns) = unsafe {
            (
                context(options)?,
                buffer(labels, labels_len, "labels")?,
                buffer(scores, scores_len, "scores")?,
                Out::new(batch, "batch")?,
                Out::optional(receipt, "receipt")?,
                tensors(columns, n_columns, "columns")?,
            )
        };
        let request = Request::Batch(Features::Columns(columns));
        let answers = with_model(model, |model| {
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
