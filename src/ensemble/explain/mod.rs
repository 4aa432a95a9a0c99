//! Why a booster answers as it does: contributions of the features to a margin
//! ([`Explainer`], [`LinearLearner::explain`]), the leaves a row ends in ([`Leaves`]), and how
//! much each feature matters to the whole ensemble ([`Ensemble::importance`]).
//!
//! Each means what the trainer's own function means: XGBoost's `pred_contribs`, `pred_leaf` and
//! `get_score`, LightGBM's `pred_contrib`, `pred_leaf` and `feature_importance`, `apply` of
//! scikit-learn's trees, and `shap.TreeExplainer` with `tree_path_dependent`. CatBoost's
//! `ShapValues` follow where a symmetric tree has its last split at the root: contributions
//! depend on the order of the splits, margins do not.

mod apply;
mod importance;
mod prepare;
mod quadrature;
mod shap;
#[cfg(test)]
mod tests;

pub use apply::Leaves;
pub use importance::{Counted, Importance};
pub use prepare::Explainer;
pub use shap::Scratch;

use super::{Ensemble, LinearLearner, Node, Split};
use crate::error::{Result, ensure};

/// Numbers in one explanation (2^27, a gibibyte): `targets · (features + 1)` at most.
const MAX_VALUES: usize = 1 << 27;

/// What each feature adds to each margin of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    features: usize,
    values: Vec<f64>,
}

impl Explanation {
    /// Features of the row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Margins of the row.
    pub fn targets(&self) -> usize {
        self.values.len() / (self.features + 1)
    }

    /// What each feature adds to the margin of `target`, in the margin's unit; empty for a target
    /// that there is not.
    pub fn contributions(&self, target: usize) -> &[f64] {
        self.of(target).get(..self.features).unwrap_or_default()
    }

    /// The margin of `target` where nothing is known of the row (the expected value); with the
    /// contributions it adds up to the row's margin. 0 for a target that there is not.
    pub fn bias(&self, target: usize) -> f64 {
        self.of(target).last().copied().unwrap_or(0.0)
    }

    /// All of it, `[targets, features + 1]` row by row, the bias last in each: the layout of
    /// XGBoost and LightGBM.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// [`Explanation::values`] for keeps.
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    fn of(&self, target: usize) -> &[f64] {
        self.values.chunks_exact(self.features + 1).nth(target).unwrap_or_default()
    }
}

/// How many numbers an explanation has.
fn values(targets: usize, features: usize) -> Result<usize> {
    let values = features.checked_add(1).and_then(|n| n.checked_mul(targets));
    let values = values.filter(|&n| n <= MAX_VALUES);
    ensure!(
        values.is_some(),
        LimitExceeded,
        "an explanation for {targets} targets and {features} features has more than {MAX_VALUES} \
         numbers"
    );
    Ok(values.unwrap_or_default())
}

impl Ensemble {
    /// Refuses rows of another length than the file says, or too short ones where it does not.
    fn check_row(&self, row: &[f64], features: usize) -> Result<()> {
        ensure!(
            row.len() == features || (self.features == 0 && row.len() > features),
            InvalidInput,
            "a row of {} features, expected {features}",
            row.len()
        );
        Ok(())
    }

    /// Features that an explanation has: what the file says, or else what the nodes look at.
    fn explained_features(&self) -> usize {
        if self.features == 0 { self.width() } else { self.features }
    }

    /// The share of the rows at a split that went to its `yes` and to its `no` branch. It is
    /// taken of the children's sum, not of the node: the shares then add up to one even where
    /// children are shared or the trainer's sums are rounded. Half each where no row came.
    fn shares(&self, split: &Split) -> (f64, f64) {
        let cover = |node: u32| self.cover.get(node as usize).copied().unwrap_or(0.0);
        let (yes, no) = (cover(split.yes), cover(split.no));
        let sum = yes + no;
        if sum > 0.0 { (yes / sum, no / sum) } else { (0.5, 0.5) }
    }

    /// The split at a node of a checked ensemble.
    fn split_at(&self, node: u32) -> Option<&Split> {
        match &self.nodes[node as usize] {
            Node::Split(split) => Some(split),
            Node::Leaf(_) => None,
        }
    }
}

impl LinearLearner {
    /// What each feature of one row adds to each margin: its value times its weight, in `f32`
    /// and without taking means off, and nothing where it is missing; the bias is the learner's
    /// own plus the base value. XGBoost's `pred_contribs` of `gblinear`.
    ///
    /// # Errors
    /// `InvalidInput` for a row of another length; `InvalidModel` where weights, bias or base
    /// are not as many as features and targets say; `LimitExceeded` for an explanation of more
    /// than 2^27 numbers.
    pub fn explain(&self, row: &[f64]) -> Result<Explanation> {
        ensure!(
            row.len() == self.features,
            InvalidInput,
            "a row of {} features, expected {}",
            row.len(),
            self.features
        );
        let (features, targets) = (self.features, self.targets);
        let mut out = vec![0.0; values(targets, features)?];
        ensure!(
            self.weights.len() == features * targets
                && self.bias.len() == targets
                && (self.base.is_empty() || self.base.len() == targets),
            InvalidModel,
            "a linear booster of {features} features and {targets} targets has {} weights, {} \
             biases and {} base values",
            self.weights.len(),
            self.bias.len(),
            self.base.len()
        );
        for (target, out) in out.chunks_exact_mut(features + 1).enumerate() {
            for (feature, &x) in row.iter().enumerate() {
                if !x.is_nan() {
                    out[feature] = (x as f32 * self.weights[feature * targets + target]).into();
                }
            }
            let base = self.base.get(target).copied().unwrap_or(0.0);
            out[features] = (self.bias[target] + base).into();
        }
        Ok(Explanation { features, values: out })
    }
}
