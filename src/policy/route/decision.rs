//! What a promotion decides, with the figures of each decision.

use super::arm::Counts;
use super::gate::GateFigures;
use super::print;
use crate::error::Result;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Stay at this step.
    Continue,
    /// Go up to the next step.
    Advance,
    /// Go up to 100 %: the canary is to become the version that serves.
    Promote,
    /// Back to 0 %, at once and for good.
    RollBack,
}

impl Verdict {
    /// `continue`, `advance`, `promote` or `roll back`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Continue => "continue",
            Verdict::Advance => "advance",
            Verdict::Promote => "promote",
            Verdict::RollBack => "roll back",
        }
    }
}

/// What an arm did during a step, as a decision saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ArmFigures {
    /// Requests, without those refused for their own sake.
    pub requests: u64,
    /// Requests that it failed.
    pub errors: u64,
    /// The share of those.
    pub error_rate: f64,
    /// Median latency.
    #[serde(serialize_with = "print::seconds")]
    pub p50: Duration,
    /// 99th percentile.
    #[serde(serialize_with = "print::seconds")]
    pub p99: Duration,
}

impl ArmFigures {
    pub(super) fn of(counts: &Counts) -> ArmFigures {
        ArmFigures {
            requests: counts.eligible(),
            errors: counts.errors,
            error_rate: counts.error_rate(),
            p50: counts.latency.quantile(0.5),
            p99: counts.latency.quantile(0.99),
        }
    }
}

/// One decision, with the figures that it was made from: those of the present step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// Its number within the promotion, from 1.
    pub number: u64,
    /// When it was made.
    #[serde(serialize_with = "print::unix_time")]
    pub at: SystemTime,
    /// The step, from 1.
    pub step: usize,
    /// The canary's percentage until now.
    pub percent: f64,
    /// Its percentage from now on.
    pub next_percent: f64,
    /// How long the step took so far.
    #[serde(serialize_with = "print::seconds")]
    pub elapsed: Duration,
    /// Which look at the step this is, from 1.
    pub look: u64,
    /// The error level of each test at this look; 0 between looks, when nothing is rolled back.
    pub alpha: f64,
    /// The canary's figures.
    pub canary: ArmFigures,
    /// Stable's.
    pub stable: ArmFigures,
    /// Requests whose two answers were compared.
    pub compared: u64,
    /// What each gate said.
    pub gates: Vec<GateFigures>,
    /// What was decided.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
}

/// How a promotion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PromotionState {
    /// On its way.
    Running,
    /// The canary has everything; once it serves ([`super::Router::hand_over`]), as stable.
    Promoted,
    /// The canary has nothing any more.
    RolledBack,
    /// Somebody set the canary's weight by hand, or what was compared is no more what is asked
    /// ([`super::Router::give_up`]); nothing is decided any more.
    Stopped,
}

impl PromotionState {
    /// `running`, `promoted`, `rolled back` or `stopped`.
    pub fn name(self) -> &'static str {
        match self {
            PromotionState::Running => "running",
            PromotionState::Promoted => "promoted",
            PromotionState::RolledBack => "rolled back",
            PromotionState::Stopped => "stopped",
        }
    }
}

/// Called after each decision that changed something: in order of time mostly, from a thread of
/// the executor (decisions are numbered). On [`Verdict::Promote`] the host makes the canary the
/// version that serves, if [`super::Router::hand_over`] allows it.
pub type OnDecision = Arc<dyn Fn(&Decision) + Send + Sync>;

/// A promotion so far.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PromotionReport {
    /// The canary's name.
    pub arm: String,
    /// How it stands.
    pub state: PromotionState,
    /// The present step, from 1.
    pub step: usize,
    /// The percentages of the steps.
    pub steps: Vec<f64>,
    /// The decisions, the oldest first: all that changed something, and the latest others (256
    /// together).
    pub decisions: Vec<Decision>,
}

impl PromotionReport {
    /// The report as JSON.
    ///
    /// # Errors
    /// `Internal` (a defect).
    pub fn to_json(&self) -> Result<String> {
        super::report::json(self)
    }
}

impl fmt::Display for PromotionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, steps) = (self.state.name(), self.steps.len());
        writeln!(f, "promotion of {}: {state}, step {} of {steps}", self.arm, self.step)?;
        let heading = [
            "decision", "percent", "requests", "errors", "stable's", "p99", "stable's", "compared",
        ];
        let mut rows = vec![heading.map(str::to_string).to_vec()];
        for d in &self.decisions {
            rows.push(vec![
                format!("{} {}", d.number, d.verdict.name()),
                format!("{} %", d.percent),
                d.canary.requests.to_string(),
                print::percentage(d.canary.error_rate),
                print::percentage(d.stable.error_rate),
                print::time(d.canary.p99),
                print::time(d.stable.p99),
                d.compared.to_string(),
            ]);
        }
        print::table(f, &rows)?;
        match self.decisions.last() {
            Some(last) => writeln!(f, "last: {}", last.reason),
            None => Ok(()),
        }
    }
}
