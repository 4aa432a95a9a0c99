//! The linear booster.

use super::model::Model;
use crate::ensemble::LinearLearner;
use crate::error::{Result, ensure, err};

/// Reads `weights`: a row of coefficients for each feature, then the row of biases.
///
/// # Errors
/// `InvalidModel` where their number is another.
pub(super) fn read(model: Model, base: &[f32], features: usize) -> Result<LinearLearner> {
    let mut weights = model
        .weights
        .ok_or_else(|| err!(InvalidModel, "gradient_booster.model: key \"weights\" is missing"))?;
    let targets = base.len();
    let split = features.checked_mul(targets);
    let expected = split.and_then(|n| n.checked_add(targets));
    ensure!(
        expected == Some(weights.len()),
        InvalidModel,
        "{} weights for {features} features (and a bias) of {targets} targets",
        weights.len()
    );
    let bias = weights.split_off(split.unwrap_or(0));
    // With a base score for each target (3.1 and later), XGBoost trains and predicts linear
    // boosters with the first one for all.
    let base = vec![base.first().copied().unwrap_or(0.0); targets];
    Ok(LinearLearner { features, targets, weights, bias, base })
}
