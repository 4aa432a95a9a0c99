//! The loss: what margins become, as CatBoost's own `predict` and `predict_proba` answer.

use super::document::{ClassParams, Label, ModelInfo};
use crate::ensemble::{Link, Outcome};
use crate::error::{Result, bail, ensure};

/// What the loss makes of margins.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) name: Option<String>,
    pub(super) link: Link,
    pub(super) outcome: Outcome,
    pub(super) classes: Option<Vec<String>>,
}

/// Reads the loss of a model whose leaves have `targets` values. Losses that are not named here,
/// and models without one (sums of models), answer their margins.
pub(super) fn read(info: &ModelInfo<'_>, targets: usize) -> Result<Loss> {
    let loss = info.params.as_ref().and_then(|p| p.loss_function.as_ref());
    let name = loss.and_then(|l| l.kind.as_deref()).unwrap_or_default();
    let sigmoid = Link::Sigmoid { slope: 1.0 };
    let (link, outcome) = match name {
        "Logloss" | "CrossEntropy" | "Focal" => (sigmoid, Outcome::Binary),
        "MultiClass" => (Link::FastSoftmax, Outcome::Classes),
        "MultiClassOneVsAll" => (sigmoid, Outcome::Classes),
        // Several labels a row, each on its own.
        "MultiLogloss" | "MultiCrossEntropy" => (sigmoid, Outcome::Values),
        "Poisson" | "Tweedie" => (Link::FastExp, Outcome::Values),
        "RMSEWithUncertainty" => (Link::MeanVariance, Outcome::Values),
        _ => (Link::Identity, Outcome::Values),
    };
    let expected = match outcome {
        _ if link == Link::MeanVariance => targets == 2,
        Outcome::Binary | Outcome::BinaryByMargin => targets == 1,
        Outcome::Classes => targets > 1,
        Outcome::Values | Outcome::Outlier => true,
    };
    ensure!(expected, InvalidModel, "loss {name} with leaves of {targets} values");
    if outcome == Outcome::Binary
        && let Some(threshold) = info.binclass_probability_threshold.as_deref()
        && threshold.trim().parse() != Ok(0.5)
    {
        bail!(
            Unsupported,
            "classes are told apart at a probability of {threshold} \
             (binclass_probability_threshold): save the model with the threshold 0.5, and compare \
             probabilities with your own"
        );
    }
    let classes = match (outcome, &info.class_params) {
        (Outcome::Binary, Some(params)) => labels(params, 2),
        (Outcome::Classes, Some(params)) => labels(params, targets),
        _ => None,
    };
    let name = (!name.is_empty()).then(|| name.to_string());
    Ok(Loss { name, link, outcome, classes })
}

/// The labels of `count` classes, where there are as many.
fn labels(params: &ClassParams<'_>, count: usize) -> Option<Vec<String>> {
    let names = params.class_names.as_deref().unwrap_or_default();
    let floats = params.class_label_type.as_deref() == Some("Float");
    let text = |label: &Label| match label {
        Label::Text(text) => text.clone(),
        // 2.0 stays apart from the integer 2, as in `classes_`.
        Label::Number(x) if floats => format!("{x:?}"),
        Label::Number(x) => x.to_string(),
    };
    if names.len() == count {
        return Some(names.iter().map(text).collect());
    }
    // Classes that training did not see have no margin.
    let places = params.class_to_label.as_deref().unwrap_or_default();
    let seen = places.iter().map(|&place| match names {
        [] => Some(place.to_string()),
        _ => names.get(place as usize).map(text),
    });
    let seen = seen.collect::<Option<Vec<_>>>()?;
    (seen.len() == count).then_some(seen)
}
