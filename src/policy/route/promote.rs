//! Promotion: a canary's way up in steps, or at once back to nothing.
//!
//! The decision is a function of counts and of the time that is passed in; [`super::driver`] ties
//! it to a route.
//!
//! **False alarms.** Each gate is a one-sided test, looked at again and again. A step's share of
//! `alpha` is spent over its looks as `1/(k·(k+1))`, whose sum is 1: by the union bound a canary
//! as good as stable is rolled back by a promotion with probability `alpha` at most, however long
//! it runs and however often it is looked at.

use super::decision::{ArmFigures, Decision, PromotionState, Verdict};
use super::gate::{Gate, GateFigures, GateVerdict, Level, Seen};
use crate::error::{Result, ensure};
use std::time::{Duration, SystemTime};

/// When a canary goes up a step, and when it goes back.
#[derive(Debug, Clone, PartialEq)]
pub struct PromotionOptions {
    /// The percentages to go through, rising; 1, 5, 25 and 100 by default. The last is always
    /// 100 and is added where it is missing: reaching it is the promotion.
    pub steps: Vec<f64>,
    /// Requests that a step needs of the canary; 500 by default. (Requests refused for their own
    /// sake do not count here, nor in any rate.)
    pub min_requests: u64,
    /// Requests that a step needs of stable, to compare with; 100 by default.
    pub min_stable_requests: u64,
    /// How long a step takes at least; 60 s by default.
    pub min_duration: Duration,
    /// A look is taken after so many requests of the canary; 50 by default (never more than
    /// `min_requests`).
    pub evaluate_every: u64,
    /// The probability that a canary as good as stable is rolled back, over the whole promotion;
    /// 0.01 by default.
    pub alpha: f64,
    /// A step is not left while a gate's p-value is at or below this: no proof yet, but doubt.
    /// More requests decide. 0.05 by default.
    pub doubt: f64,
    /// By how much the canary's error rate may exceed stable's, as a rate (0.01 is one point);
    /// 0 by default: any excess that is proven is too much.
    pub max_error_increase: f64,
    /// How many times stable's median, and its 99th percentile, the canary's may be; 1.5 by
    /// default. `None`: latency does not matter.
    pub max_latency_ratio: Option<f64>,
    /// Differences below this never matter, whatever the ratio; 50 µs by default.
    pub latency_floor: Duration,
    /// The share of answers that may disagree with stable's (see [`crate::Difference`]); 0.05 by
    /// default. `None`: disagreement does not matter.
    pub max_disagreement: Option<f64>,
    /// Comparisons that a step needs where disagreement matters; 50 by default.
    pub min_compared: u64,
}

impl Default for PromotionOptions {
    fn default() -> Self {
        PromotionOptions {
            steps: vec![1.0, 5.0, 25.0, 100.0],
            min_requests: 500,
            min_stable_requests: 100,
            min_duration: Duration::from_secs(60),
            evaluate_every: 50,
            alpha: 0.01,
            doubt: 0.05,
            max_error_increase: 0.0,
            max_latency_ratio: Some(1.5),
            latency_floor: Duration::from_micros(50),
            max_disagreement: Some(0.05),
            min_compared: 50,
        }
    }
}

impl PromotionOptions {
    fn checked(mut self) -> Result<PromotionOptions> {
        let rising = self.steps.windows(2).all(|w| matches!(w, [a, b] if a < b));
        ensure!(
            rising && self.steps.iter().all(|s| *s > 0.0 && *s <= 100.0),
            InvalidArgument,
            "the steps of a promotion are rising percentages above 0 and up to 100, got {:?}",
            self.steps
        );
        for (name, value) in [("alpha", self.alpha), ("doubt", self.doubt)] {
            ensure!(
                value > 0.0 && value < 1.0,
                InvalidArgument,
                "{name} is a probability above 0 and below 1, got {value}"
            );
        }
        let rates = [Some(self.max_error_increase), self.max_disagreement];
        ensure!(
            rates.iter().flatten().all(|rate| (0.0..1.0).contains(rate)),
            InvalidArgument,
            "max_error_increase and max_disagreement are rates from 0 to below 1"
        );
        ensure!(
            self.max_latency_ratio.is_none_or(|ratio| ratio >= 1.0),
            InvalidArgument,
            "max_latency_ratio is at least 1"
        );
        if self.steps.last() != Some(&100.0) {
            self.steps.push(100.0);
        }
        self.evaluate_every = self.evaluate_every.clamp(1, self.min_requests.max(1));
        Ok(self)
    }
}

/// The moment of an evaluation.
pub(super) struct Moment {
    /// Since the promotion began, by a clock that does not jump.
    pub(super) since_start: Duration,
    pub(super) at: SystemTime,
}

/// The decisions: no clock, no threads.
pub(super) struct Promotion {
    options: PromotionOptions,
    state: PromotionState,
    step: usize,
    /// What had been seen, and when, as the step began.
    base: Seen,
    began: Duration,
    look: u64,
    looked_at: u64,
    number: u64,
}

impl Promotion {
    pub(super) fn new(options: PromotionOptions) -> Result<Promotion> {
        Ok(Promotion {
            options: options.checked()?,
            state: PromotionState::Running,
            step: 0,
            base: Seen::default(),
            began: Duration::ZERO,
            look: 0,
            looked_at: 0,
            number: 0,
        })
    }

    /// The same promotion where counts begin at nothing: the present step begins anew.
    pub(super) fn resumed(&self) -> Promotion {
        Promotion {
            options: self.options.clone(),
            base: Seen::default(),
            began: Duration::ZERO,
            look: 0,
            looked_at: 0,
            ..*self
        }
    }

    pub(super) fn state(&self) -> PromotionState {
        self.state
    }

    /// Decides nothing any more.
    pub(super) fn stop(&mut self) {
        self.state = PromotionState::Stopped;
    }

    /// The present step, from 1, and the percentages of all.
    pub(super) fn steps(&self) -> (usize, &[f64]) {
        (self.step + 1, &self.options.steps)
    }

    pub(super) fn percent(&self) -> f64 {
        match self.state {
            PromotionState::RolledBack => 0.0,
            _ => self.options.steps.get(self.step).copied().unwrap_or(100.0),
        }
    }

    /// The number of requests of the canary at which the next look is due.
    pub(super) fn next_look(&self) -> u64 {
        match self.state {
            PromotionState::Running => {
                self.base.canary.eligible() + self.looked_at + self.options.evaluate_every
            }
            _ => u64::MAX,
        }
    }

    /// Decides from what both arms did since the promotion began; `None` when it is over.
    pub(super) fn evaluate(&mut self, seen: &Seen, now: &Moment) -> Option<Decision> {
        if self.state != PromotionState::Running {
            return None;
        }
        let window = seen.since(&self.base);
        let requests = window.canary.eligible();
        let looking = requests >= self.looked_at + self.options.evaluate_every;
        if looking {
            (self.look, self.looked_at) = (self.look + 1, requests);
        }
        let level =
            Level { alpha: if looking { self.alpha() } else { 0.0 }, doubt: self.options.doubt };
        let gates = Gate::all(&self.options, &window, level);
        let elapsed = now.since_start.saturating_sub(self.began);
        let percent = self.percent();
        let (verdict, reason) = self.decide(&window, &gates, elapsed);
        let next_percent = match verdict {
            Verdict::Continue => percent,
            Verdict::RollBack => 0.0,
            Verdict::Advance | Verdict::Promote => {
                self.options.steps.get(self.step + 1).copied().unwrap_or(100.0)
            }
        };
        self.number += 1;
        let decision = Decision {
            number: self.number,
            at: now.at,
            step: self.step + 1,
            percent,
            next_percent,
            elapsed,
            look: self.look,
            alpha: level.alpha,
            canary: ArmFigures::of(&window.canary),
            stable: ArmFigures::of(&window.stable),
            compared: window.compared,
            gates,
            verdict,
            reason,
        };
        match verdict {
            Verdict::Continue => {}
            Verdict::RollBack => self.state = PromotionState::RolledBack,
            Verdict::Advance | Verdict::Promote => {
                self.step += 1;
                (self.look, self.looked_at) = (0, 0);
                (self.base, self.began) = (seen.clone(), now.since_start);
                if verdict == Verdict::Promote {
                    self.state = PromotionState::Promoted;
                }
            }
        }
        Some(decision)
    }

    /// The error level of one gate at the present look.
    fn alpha(&self) -> f64 {
        let tested = (self.options.steps.len() - 1).max(1) * Gate::count(&self.options).max(1);
        let look = self.look as f64;
        self.options.alpha / tested as f64 / (look * (look + 1.0))
    }

    fn decide(&self, seen: &Seen, gates: &[GateFigures], elapsed: Duration) -> (Verdict, String) {
        let o = &self.options;
        if let Some(gate) = gates.iter().find(|g| g.verdict == GateVerdict::Fail) {
            return (Verdict::RollBack, gate.to_string());
        }
        let wait = |what: &str, have: u64, need: u64| {
            (Verdict::Continue, format!("waits for {what}: {have} of {need}"))
        };
        let (canary, stable) = (seen.canary.eligible(), seen.stable.eligible());
        // A canary that starts at 100 % has nothing to be compared with.
        if canary < o.min_requests {
            return wait("requests of the canary", canary, o.min_requests);
        }
        if stable < o.min_stable_requests {
            return wait("requests of stable", stable, o.min_stable_requests);
        }
        if o.max_disagreement.is_some() && seen.compared < o.min_compared {
            return wait("comparisons with stable", seen.compared, o.min_compared);
        }
        if elapsed < o.min_duration {
            let reason = format!("waits until the step has taken {:?}", o.min_duration);
            return (Verdict::Continue, reason);
        }
        if let Some(gate) = gates.iter().find(|g| g.verdict == GateVerdict::Doubt) {
            return (Verdict::Continue, format!("in doubt: {gate}"));
        }
        let last = self.step + 2 >= o.steps.len();
        (if last { Verdict::Promote } else { Verdict::Advance }, "every gate passed".to_string())
    }
}
