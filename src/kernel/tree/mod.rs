//! Tree ensembles, compiled.
//!
//! `parse` reads ONNX's three operators into the one form of [`crate::ensemble`]; `forest`
//! compiles a form: to nodes of eight bytes (`node`) over columns of features (`column`), with the
//! leaves apart (`leaves`). `walk` descends it, `blend` folds its smaller trees for batches, and
//! `classifier`, `regressor` and `native` turn the sums of leaves into what operators answer.

mod blend;
mod classifier;
mod column;
mod forest;
mod leaves;
mod native;
mod node;
mod parse;
mod real;
mod regressor;
mod set;
mod store;
#[cfg(test)]
mod tests;
mod walk;

use super::registry::{Entry, ml, native};

pub(super) const OPS: &[Entry] = &[
    ml("TreeEnsembleClassifier", 1, classifier::prepare),
    ml("TreeEnsembleRegressor", 1, regressor::prepare_regressor),
    ml("TreeEnsemble", 5, regressor::prepare_ensemble),
    native("Booster", native::prepare),
];
