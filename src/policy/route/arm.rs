//! An arm of a route: where its requests go, and what became of them.

use super::mirror::Mirror;
use crate::error::{ErrorKind, Result};
use crate::metrics::histogram::{Histogram, HistogramSnapshot};
use crate::model::{Model, Reply};
use crate::policy::Resolve;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One of the ways that requests of a route can go.
#[derive(Clone)]
#[non_exhaustive]
pub struct Arm {
    /// Its name in reports and in [`super::Router::set_weight`]: `v7`, `candidate`.
    pub name: Arc<str>,
    /// Finds the model, for each request anew.
    pub resolve: Resolve,
    /// The percentage of requests, 0 to 100. Stable gets what the others leave, whatever this
    /// says.
    pub percent: f64,
}

impl Arm {
    /// An arm of `percent` percent of the requests.
    pub fn new(name: &str, resolve: Resolve, percent: f64) -> Arm {
        Arm { name: name.into(), resolve, percent }
    }

    /// An arm that is this model always.
    pub fn of(name: &str, model: Arc<dyn Model>, percent: f64) -> Arm {
        Arm::new(name, Arc::new(move || Ok(model.clone())), percent)
    }
}

impl std::fmt::Debug for Arm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arm").field("name", &self.name).field("percent", &self.percent).finish()
    }
}

/// Whether a failure is the request's own: any arm would have refused it.
pub(super) fn is_clients(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidInput
            | ErrorKind::InvalidArgument
            | ErrorKind::LimitExceeded
            | ErrorKind::Cancelled
    )
}

/// How a request to an arm ended.
pub(super) enum Outcome {
    /// Answered, with so many rows, after this time.
    Answered(usize, Duration),
    /// The arm failed, and that is what the caller got.
    Failed,
    /// The arm failed, and stable answered instead.
    FellBack,
    /// Refused for the request's own sake, or cancelled.
    Refused,
}

impl Outcome {
    /// How a request ended that the arm was given at `began`. After the deadline nobody takes an
    /// answer any more, and a cancellation is the deadline's: both were lost by the arm.
    pub(super) fn of(result: &Result<Reply>, began: Instant, deadline: Option<Instant>) -> Outcome {
        let now = Instant::now();
        let late = deadline.is_some_and(|deadline| now >= deadline);
        let took = now.saturating_duration_since(began);
        match result {
            Ok(_) if late => Outcome::Failed,
            Err(e) if late && e.kind() == ErrorKind::Cancelled => Outcome::Failed,
            Ok(Reply::Row(_)) => Outcome::Answered(1, took),
            Ok(Reply::Batch(p)) => Outcome::Answered(p.rows, took),
            Ok(Reply::Tensors(outputs)) => {
                let first = outputs.first().and_then(|(_, v)| v.as_tensor().ok());
                let rows = first.and_then(|t| t.dims().first().copied()).unwrap_or(1);
                Outcome::Answered(rows, took)
            }
            Err(e) if is_clients(e.kind()) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        }
    }
}

/// An arm at work. Relaxed counters: each is a sum on its own and orders nothing.
pub(super) struct ArmState {
    pub(super) name: Arc<str>,
    pub(super) resolve: Resolve,
    /// Compares this arm's answers with stable's.
    pub(super) mirror: Option<Arc<Mirror>>,
    /// Requests, without the refused ones.
    eligible: AtomicU64,
    errors: AtomicU64,
    fell_back: AtomicU64,
    refused: AtomicU64,
    rows: AtomicU64,
    latency: Histogram,
}

/// What an arm has counted at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) fell_back: u64,
    pub(super) refused: u64,
    pub(super) rows: u64,
    pub(super) latency: HistogramSnapshot,
}

impl Counts {
    /// Requests that the arm could have answered.
    pub(super) fn eligible(&self) -> u64 {
        self.requests.saturating_sub(self.refused)
    }

    /// The share of those that it failed.
    pub(super) fn error_rate(&self) -> f64 {
        self.errors as f64 / self.eligible().max(1) as f64
    }

    /// What was counted since `earlier`.
    pub(super) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            fell_back: self.fell_back.saturating_sub(earlier.fell_back),
            refused: self.refused.saturating_sub(earlier.refused),
            rows: self.rows.saturating_sub(earlier.rows),
            latency: self.latency.since(&earlier.latency),
        }
    }

    /// Adds what another arm counted.
    pub(super) fn merge(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.fell_back += other.fell_back;
        self.refused += other.refused;
        self.rows += other.rows;
        self.latency.merge(&other.latency);
    }
}

impl ArmState {
    pub(super) fn new(name: Arc<str>, resolve: Resolve, mirror: Option<Arc<Mirror>>) -> ArmState {
        ArmState {
            name,
            resolve,
            mirror,
            eligible: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            fell_back: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            latency: Histogram::default(),
        }
    }

    /// Counts a request; answers how many there were with it, refused ones left out.
    pub(super) fn record(&self, outcome: &Outcome) -> u64 {
        match outcome {
            Outcome::Answered(rows, took) => {
                self.rows.fetch_add(*rows as u64, Relaxed);
                self.latency.record(*took);
            }
            Outcome::Failed => {
                self.errors.fetch_add(1, Relaxed);
            }
            Outcome::FellBack => {
                self.errors.fetch_add(1, Relaxed);
                self.fell_back.fetch_add(1, Relaxed);
            }
            Outcome::Refused => {
                self.refused.fetch_add(1, Relaxed);
                return self.eligible.load(Relaxed);
            }
        }
        self.eligible.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn counts(&self) -> Counts {
        let refused = self.refused.load(Relaxed);
        Counts {
            requests: self.eligible.load(Relaxed) + refused,
            errors: self.errors.load(Relaxed),
            fell_back: self.fell_back.load(Relaxed),
            refused,
            rows: self.rows.load(Relaxed),
            latency: self.latency.snapshot(),
        }
    }
}
