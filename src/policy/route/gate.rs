//! The gates of a promotion: what must not be worse than with stable, and how that is tested.

use super::arm::Counts;
use super::print;
use super::promote::PromotionOptions;
use super::proportion::{binomial_upper, difference_lower, fisher_upper, normal_upper};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Stable's quantile is not known exactly: its upper bound at this level is compared with.
const QUANTILE_LEVEL: f64 = 0.01;

/// What both arms did.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) canary: Counts,
    pub(super) stable: Counts,
    /// Requests whose two answers were compared.
    pub(super) compared: u64,
    /// How many of those disagreed, each counting by the share of its rows.
    pub(super) disagreement: f64,
}

impl Seen {
    /// What was seen since `earlier`.
    pub(super) fn since(&self, earlier: &Seen) -> Seen {
        Seen {
            canary: self.canary.since(&earlier.canary),
            stable: self.stable.since(&earlier.stable),
            compared: self.compared.saturating_sub(earlier.compared),
            disagreement: (self.disagreement - earlier.disagreement).max(0.0),
        }
    }
}

/// What a gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// The rate of errors against stable's: Fisher's exact test, and, where an increase is
    /// allowed, Newcombe's lower bound of the increase.
    Errors,
    /// The median latency: the quantile test against so many times stable's.
    MedianLatency,
    /// The 99th percentile: likewise.
    TailLatency,
    /// The share of answers that disagree with stable's: the exact binomial test.
    Disagreement,
}

/// What a gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GateVerdict {
    /// Nothing speaks against the canary.
    Pass,
    /// Something does, but it may be chance.
    Doubt,
    /// The canary is worse than allowed.
    Fail,
}

/// A gate's test, with its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GateFigures {
    /// Which one.
    pub gate: Gate,
    /// The canary's figure: a rate, or seconds.
    pub observed: f64,
    /// What it was held against: stable's figure and what is allowed beyond it.
    pub limit: f64,
    /// The probability of a figure as bad as this for a canary just within the limit.
    pub p_value: f64,
    /// What follows.
    pub verdict: GateVerdict,
}

/// From which p-value on a gate fails, or doubts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) alpha: f64,
    pub(super) doubt: f64,
}

impl Level {
    fn verdict(self, p_value: f64) -> GateVerdict {
        match p_value {
            p if p <= self.alpha => GateVerdict::Fail,
            p if p <= self.doubt => GateVerdict::Doubt,
            _ => GateVerdict::Pass,
        }
    }
}

impl Gate {
    /// How many gates there are.
    pub(super) fn count(o: &PromotionOptions) -> usize {
        1 + 2 * usize::from(o.max_latency_ratio.is_some())
            + usize::from(o.max_disagreement.is_some())
    }

    /// Tests all of them.
    pub(super) fn all(o: &PromotionOptions, seen: &Seen, level: Level) -> Vec<GateFigures> {
        let mut gates = vec![errors(o, seen, level)];
        if let Some(ratio) = o.max_latency_ratio {
            for (gate, q) in [(Gate::MedianLatency, 0.5), (Gate::TailLatency, 0.99)] {
                gates.push(latency(gate, q, ratio, o.latency_floor, seen, level));
            }
        }
        if let Some(limit) = o.max_disagreement {
            gates.push(disagreement(limit, seen, level));
        }
        gates
    }
}

fn errors(o: &PromotionOptions, seen: &Seen, level: Level) -> GateFigures {
    let (x1, n1) = (seen.canary.errors, seen.canary.eligible());
    let (x2, n2) = (seen.stable.errors, seen.stable.eligible());
    let margin = o.max_error_increase;
    let p_value = fisher_upper(x1, n1, x2, n2);
    // With a margin, a proven difference is not enough: it must exceed the margin, provably.
    let exceeds = |level: f64| {
        margin == 0.0 || difference_lower(x1, n1, x2, n2, normal_upper(level)) > margin
    };
    let verdict = match level.verdict(p_value) {
        GateVerdict::Fail if exceeds(level.alpha) => GateVerdict::Fail,
        GateVerdict::Pass => GateVerdict::Pass,
        _ if exceeds(level.doubt) => GateVerdict::Doubt,
        _ => GateVerdict::Pass,
    };
    GateFigures {
        gate: Gate::Errors,
        observed: seen.canary.error_rate(),
        limit: seen.stable.error_rate() + margin,
        p_value,
        verdict,
    }
}

/// The quantile test: of latencies whose `q`-quantile is at most the limit, a share of `1 − q`
/// lies above it. (W. J. Conover, Practical Nonparametric Statistics, 3rd ed., 3.2.) It assumes
/// nothing of the distribution.
fn latency(
    gate: Gate,
    q: f64,
    ratio: f64,
    floor: Duration,
    seen: &Seen,
    level: Level,
) -> GateFigures {
    let (canary, stable) = (&seen.canary.latency, &seen.stable.latency);
    let (answered, known) = (canary.count(), stable.count());
    // The rank of the upper bound, by the normal approximation of the binomial distribution.
    let spread = normal_upper(QUANTILE_LEVEL) * (q * (1.0 - q) / known.max(1) as f64).sqrt();
    let upper = stable.quantile((q + spread).min(1.0));
    let limit = upper.mul_f64(ratio.min(1e6)).max(upper.saturating_add(floor));
    let p_value = match known {
        0 => 1.0,
        _ => binomial_upper(canary.count_above(limit), answered, 1.0 - q),
    };
    GateFigures {
        gate,
        observed: canary.quantile(q).as_secs_f64(),
        limit: limit.as_secs_f64(),
        p_value,
        verdict: level.verdict(p_value),
    }
}

/// A request of several rows counts by a share, which spreads less than a whole yes or no of the
/// same mean; the binomial tail is on the safe side for such sums (cf. W. Hoeffding, JASA 58,
/// 1963).
fn disagreement(limit: f64, seen: &Seen, level: Level) -> GateFigures {
    let p_value = match seen.compared {
        0 => 1.0,
        // Rounding of the shares must not take away a whole one.
        n => binomial_upper((seen.disagreement + 1e-3).floor() as u64, n, limit),
    };
    GateFigures {
        gate: Gate::Disagreement,
        observed: seen.disagreement / seen.compared.max(1) as f64,
        limit,
        p_value,
        verdict: level.verdict(p_value),
    }
}

impl fmt::Display for GateFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |s: f64| print::time(Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX));
        let (what, text): (_, &dyn Fn(f64) -> String) = match self.gate {
            Gate::Errors => ("error rate", &print::percentage),
            Gate::MedianLatency => ("median latency", &seconds),
            Gate::TailLatency => ("99th percentile of latency", &seconds),
            Gate::Disagreement => ("disagreement with stable", &print::percentage),
        };
        let (observed, limit) = (text(self.observed), text(self.limit));
        write!(f, "{what} {observed}, allowed {limit} (p = {:.2e})", self.p_value)
    }
}
