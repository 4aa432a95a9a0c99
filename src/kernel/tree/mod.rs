//! Tree ensembles of ai.onnx.ml: one compact form, read from three operators.
//!
//! `parse` turns attributes into a validated forest, `ensemble` packs it, `walk` descends it,
//! `classifier` and `regressor` turn the sums of leaves into what the operators answer.

mod classifier;
mod ensemble;
mod parse;
mod real;
mod regressor;
#[cfg(test)]
mod tests;
mod walk;

use super::registry::{Entry, ml};
use crate::error::Result;
use crate::tensor::{Data, Tensor};
use ensemble::{Ensemble, Store};
use std::borrow::Cow;

pub(super) const OPS: &[Entry] = &[
    ml("TreeEnsembleClassifier", 1, classifier::prepare),
    ml("TreeEnsembleRegressor", 1, regressor::prepare_regressor),
    ml("TreeEnsemble", 5, regressor::prepare_ensemble),
];

/// The rows of a request in the precision in which an ensemble answers them.
enum Features<'a> {
    F32(&'a Ensemble<f32>, Cow<'a, [f32]>),
    F64(&'a Ensemble<f64>, Cow<'a, [f64]>),
}

/// Chooses the precision: `f64` rows are compared and summed in `f64`, everything else in `f32`,
/// unless the file itself holds `f64` thresholds.
fn features<'a>(store: &'a Store, tensor: &'a Tensor) -> Result<Features<'a>> {
    Ok(match (store, tensor.data()) {
        (_, Data::F64(v)) => Features::F64(store.wide(), Cow::Borrowed(v)),
        (Store::F32(ensemble, _), Data::F32(v)) => Features::F32(ensemble, Cow::Borrowed(v)),
        (Store::F32(ensemble, _), _) => Features::F32(ensemble, Cow::Owned(tensor.to_f32_vec()?)),
        (Store::F64(ensemble), _) => Features::F64(ensemble, Cow::Owned(tensor.to_f64_vec()?)),
    })
}
