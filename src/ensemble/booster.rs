//! What a native file of a boosting library holds: a learner, and what its margins mean.

use super::{Ensemble, Link};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the margins of a row are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One value for each target.
    Values,
    /// The probability of the second of two classes, from one margin; a margin of exactly one
    /// half after the link is the first class.
    Binary,
    /// As [`Outcome::Binary`], but the margin itself decides: one of 0 is the second class.
    BinaryByMargin,
    /// A probability for each class, from a margin each; the first of the largest wins.
    Classes,
    /// A score from one margin: the first of two labels below 0, else the second.
    Outlier,
}

/// A linear booster: `margin[t] = bias[t] + base[t] + Σ x[f]·weights[f·targets + t]`, in `f32`,
/// summed from the left and by ascending feature; missing values add nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLearner {
    /// Features a row has.
    pub features: usize,
    /// Margins a row gets.
    pub targets: usize,
    /// Coefficients, feature by feature.
    pub weights: Vec<f32>,
    /// What each margin starts with (the bias).
    pub bias: Vec<f32>,
    /// What is added to the bias before anything else (the base score).
    pub base: Vec<f32>,
}

impl LinearLearner {
    /// The margins of one row of at least [`LinearLearner::features`] values.
    pub fn margins(&self, row: &[f64]) -> Vec<f64> {
        let mut margins = vec![0.0; self.targets];
        self.margins_into(row.iter().map(|&x| x as f32), &mut margins);
        margins.into_iter().map(f64::from).collect()
    }

    /// As [`LinearLearner::margins`], in place.
    pub fn margins_into(&self, row: impl Iterator<Item = f32>, margins: &mut [f32]) {
        for ((margin, bias), base) in margins.iter_mut().zip(&self.bias).zip(&self.base) {
            *margin = bias + base;
        }
        for (x, weights) in row.zip(self.weights.chunks(self.targets.max(1))) {
            if x.is_nan() {
                continue;
            }
            for (margin, &weight) in margins.iter_mut().zip(weights) {
                *margin += x * weight;
            }
        }
    }
}

/// What computes the margins.
#[derive(Debug, Clone, PartialEq)]
pub enum Learner {
    /// Trees.
    Trees(Arc<Ensemble>),
    /// A linear function.
    Linear(LinearLearner),
}

/// A native file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Booster {
    /// Rows to margins.
    pub learner: Learner,
    /// Margins to answers.
    pub link: Link,
    /// What the answers are.
    pub outcome: Outcome,
    /// Names of the features in order, where the file has them.
    pub feature_names: Option<Vec<String>>,
    /// Labels of a categorical feature by code, where the file has them.
    pub categories: BTreeMap<u32, Vec<String>>,
    /// Class labels, where the file has them (CatBoost).
    pub classes: Option<Vec<String>>,
    /// What else the file says of itself (objective, library version…), for people.
    pub metadata: BTreeMap<String, String>,
}
