//! What the objective says of margins: link, outcome, and in which space the base score is.

use crate::ensemble::{Link, Outcome};
use crate::error::{Result, bail, ensure, err};

/// How a base score becomes a margin (`ProbToMargin` of XGBoost's objectives).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Margin,
    Logit,
    Log,
}

/// The reading of an objective.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objective {
    /// Margins to answers.
    pub link: Link,
    /// What answers are.
    pub outcome: Outcome,
    base: Base,
}

impl Objective {
    /// Reads a name; a row has `targets` margins.
    ///
    /// # Errors
    /// `Unsupported` for a name that XGBoost 3.2 has not. A Python function as objective is no
    /// such case: XGBoost writes its default, `reg:squarederror`, and answers margins.
    pub(super) fn named(name: &str, targets: usize) -> Result<Objective> {
        let logistic = Link::Sigmoid { slope: 1.0 };
        // Several binary targets are several labels, each with its own probability.
        let binary = if targets == 1 { Outcome::Binary } else { Outcome::Values };
        let (link, outcome, base) = match name {
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:absoluteerror"
            | "reg:pseudohubererror"
            | "reg:quantileerror" => (Link::Identity, Outcome::Values, Base::Margin),
            "rank:pairwise" | "rank:ndcg" | "rank:map" => {
                (Link::Identity, Outcome::Values, Base::Margin)
            }
            "reg:logistic" => (logistic, Outcome::Values, Base::Logit),
            "binary:logistic" => (logistic, binary, Base::Logit),
            // Its base score is a margin, though that of the other logistic ones is not.
            "binary:logitraw" => (Link::Identity, Outcome::Values, Base::Margin),
            "binary:hinge" => (Link::Hinge, binary, Base::Margin),
            // `multi:softmax` differs in what `Booster.predict` answers only: the class.
            "multi:softmax" | "multi:softprob" => {
                ensure!(targets > 1, InvalidModel, "objective {name} with num_class {targets}");
                (Link::Softmax, Outcome::Classes, Base::Margin)
            }
            "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" => {
                (Link::Exp, Outcome::Values, Base::Log)
            }
            "survival:aft" => (Link::WideExp, Outcome::Values, Base::Log),
            _ => bail!(Unsupported, "objective '{name}' is not implemented"),
        };
        Ok(Objective { link, outcome, base })
    }

    /// `base_score` as margins: a number, or since 3.1 a list of one or of a number a target.
    ///
    /// # Errors
    /// `InvalidModel` where it is neither, or has no margin.
    pub(super) fn base_margins(&self, base_score: &str, targets: usize) -> Result<Vec<f32>> {
        let bad =
            || err!(InvalidModel, "base_score \"{base_score}\" is no number or list of numbers");
        let text = base_score.trim();
        let list = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let margin = |score: &str| {
            let score: f32 = score.trim().parse().map_err(|_| bad())?;
            let margin = match self.base {
                Base::Margin => score,
                Base::Logit => -(1.0 / score - 1.0).ln(),
                Base::Log => score.ln(),
            };
            ensure!(
                margin.is_finite(),
                InvalidModel,
                "base_score \"{base_score}\" is out of the objective's range"
            );
            Ok(margin)
        };
        let margins: Vec<f32> = list.split(',').map(margin).collect::<Result<_>>()?;
        match margins.as_slice() {
            [one] => Ok(vec![*one; targets]),
            all => {
                ensure!(
                    all.len() == targets,
                    InvalidModel,
                    "base_score has {} numbers for {targets} targets",
                    all.len()
                );
                Ok(margins)
            }
        }
    }
}
