//! The decisions of a promotion against simulated traffic, with chance but without clocks.

use super::super::arm::Counts;
use super::super::gate::Seen;
use super::super::promote::{Moment, Promotion};
use super::*;
use crate::metrics::histogram::Histogram;
use std::time::SystemTime;

const RUNS: u64 = 200;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Events of probability `p` in `n` trials, by the gaps between them.
    fn events(&mut self, n: u64, p: f64) -> u64 {
        let (mut at, mut events) = (0.0, 0);
        loop {
            at += (self.unit().max(f64::MIN_POSITIVE).ln() / (1.0 - p).ln()).ceil().max(1.0);
            if at > n as f64 {
                return events;
            }
            events += 1;
        }
    }

    /// Log-normal, of median `median` and with a tail: the 99th percentile is 4 times it.
    fn latency(&mut self, median: Duration) -> Duration {
        let radius = (-2.0 * self.unit().max(f64::MIN_POSITIVE).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median.mul_f64((0.6 * normal).exp())
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    errors: f64,
    slower: f64,
    disagree: f64,
}

/// As good as stable: 0.5 % errors, and 0.2 % of the answers differ.
const EQUAL: Candidate = Candidate { errors: 0.005, slower: 1.0, disagree: 0.002 };

#[derive(Default)]
struct Traffic {
    canary: (Counts, Histogram),
    stable: (Counts, Histogram),
    compared: u64,
    disagreement: f64,
}

impl Traffic {
    /// Fifty requests of the canary, and what goes to stable meanwhile.
    fn go_on(&mut self, random: &mut Random, candidate: Candidate, percent: f64) {
        let median = Duration::from_millis(2);
        let stable = (50.0 * (100.0 - percent) / percent).round() as u64;
        self.canary.0.requests += 50;
        self.canary.0.errors += random.events(50, candidate.errors);
        self.stable.0.requests += stable;
        self.stable.0.errors += random.events(stable, EQUAL.errors);
        for _ in 0..50 {
            self.canary.1.record(random.latency(median.mul_f64(candidate.slower)));
        }
        // One in ten stands for all: the shape is the same.
        for _ in 0..stable.div_ceil(10) {
            self.stable.1.record(random.latency(median));
        }
        self.compared += 10;
        self.disagreement += random.events(10, candidate.disagree) as f64;
    }

    fn seen(&self) -> Seen {
        let counts = |(counts, latency): &(Counts, Histogram)| Counts {
            latency: latency.snapshot(),
            ..counts.clone()
        };
        Seen {
            canary: counts(&self.canary),
            stable: counts(&self.stable),
            compared: self.compared,
            disagreement: self.disagreement,
        }
    }
}

/// The decision that ended the promotion.
fn run(seed: u64, candidate: Candidate) -> Decision {
    let options = PromotionOptions {
        max_disagreement: Some(0.02),
        min_duration: Duration::ZERO,
        ..PromotionOptions::default()
    };
    let mut promotion = Promotion::new(options).unwrap();
    let (mut random, mut traffic) = (Random(seed), Traffic::default());
    for second in 0..1000 {
        traffic.go_on(&mut random, candidate, promotion.percent());
        let now = Moment { since_start: Duration::from_secs(second), at: SystemTime::UNIX_EPOCH };
        let decision = promotion.evaluate(&traffic.seen(), &now).unwrap();
        if matches!(decision.verdict, Verdict::Promote | Verdict::RollBack) {
            assert!(promotion.evaluate(&traffic.seen(), &now).is_none(), "it is over");
            return decision;
        }
    }
    panic!("seed {seed}: no end after 50,000 requests");
}

/// How many of the runs end as `right` says; at least 99 % must.
fn mostly(candidate: Candidate, right: impl Fn(&Decision) -> bool) {
    let ends: Vec<Decision> = (0..RUNS).map(|seed| run(seed, candidate)).collect();
    let wrong: Vec<String> = ends
        .iter()
        .filter(|end| !right(end))
        .map(|end| format!("{} at {} %: {}", end.verdict.name(), end.percent, end.reason))
        .collect();
    assert!(wrong.len() as u64 * 100 <= RUNS, "{wrong:#?}");
}

#[test]
fn an_equal_candidate_is_promoted_through_all_steps() {
    mostly(EQUAL, |end| {
        end.verdict == Verdict::Promote
            && (end.step, end.percent, end.next_percent) == (3, 25.0, 100.0)
    });
}

#[test]
fn a_failing_candidate_is_rolled_back_before_a_quarter() {
    mostly(Candidate { errors: 0.05, ..EQUAL }, |end| {
        end.verdict == Verdict::RollBack
            && end.percent < 25.0
            && end.next_percent == 0.0
            && end.reason.starts_with("error rate")
    });
}

#[test]
fn a_slow_candidate_is_rolled_back_before_a_quarter() {
    mostly(Candidate { slower: 3.0, ..EQUAL }, |end| {
        end.verdict == Verdict::RollBack && end.percent < 25.0 && end.reason.contains("latency")
    });
}

#[test]
fn a_disagreeing_candidate_is_rolled_back() {
    mostly(Candidate { disagree: 0.1, ..EQUAL }, |end| {
        end.verdict == Verdict::RollBack && end.reason.starts_with("disagreement")
    });
}
