//! The objective: what margins become, after LightGBM's `ConvertOutput` (src/objective).

use crate::ensemble::{Link, Outcome};
use crate::error::{Result, bail, ensure, err};

/// What the objective makes of margins.
#[derive(Debug)]
pub(super) struct Objective {
    pub(super) link: Link,
    pub(super) outcome: Outcome,
}

/// Reads the line `objective=name parameter:value…`; a model of the caller's own objective has
/// none, and its margins are its answers.
pub(super) fn read(line: Option<&str>, targets: usize) -> Result<Objective> {
    let mut words = line.unwrap_or_default().split_ascii_whitespace();
    let name = words.next().unwrap_or("custom");
    let words = words.collect::<Vec<_>>();
    let sigmoid = || -> Result<Link> {
        let Some(text) = words.iter().find_map(|w| w.strip_prefix("sigmoid:")) else {
            return Ok(Link::Sigmoid { slope: 1.0 });
        };
        let slope = text.parse::<f64>().ok().filter(|s| *s > 0.0 && s.is_finite());
        let slope = slope.ok_or_else(|| err!(InvalidModel, "objective: sigmoid:{text}"))?;
        Ok(Link::Sigmoid { slope })
    };
    let root = words.contains(&"sqrt");
    let (link, outcome) = match name {
        "regression" | "regression_l2" | "regression_l1" | "fair" | "quantile" | "mape" if root => {
            (Link::SignedSquare, Outcome::Values)
        }
        "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile"
        | "mape" | "lambdarank" | "rank_xendcg" | "custom" | "none" => {
            (Link::Identity, Outcome::Values)
        }
        "poisson" | "gamma" | "tweedie" => (Link::Exp, Outcome::Values),
        "binary" => (sigmoid()?, Outcome::Binary),
        "multiclass" => (Link::Softmax, Outcome::Classes),
        "multiclassova" => (sigmoid()?, Outcome::Classes),
        "cross_entropy" => (Link::Sigmoid { slope: 1.0 }, Outcome::Values),
        "cross_entropy_lambda" => (Link::Log1pExp, Outcome::Values),
        _ => bail!(
            Unsupported,
            "objective '{name}' is not known: known are LightGBM's own up to version 4"
        ),
    };
    ensure!(
        outcome != Outcome::Binary || targets == 1,
        InvalidModel,
        "objective binary with {targets} trees an iteration, expected 1"
    );
    ensure!(
        outcome != Outcome::Classes || targets > 1,
        InvalidModel,
        "objective {name} with {targets} tree an iteration, expected one for each class"
    );
    Ok(Objective { link, outcome })
}
