//! Counts and latencies of a model, by version.

use crate::error::{Error, ErrorKind};
use crate::metrics::VersionMetrics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What is counted of one version: its metrics, and the last error in words.
pub(super) struct Counts {
    version: u64,
    pub(super) metrics: Arc<VersionMetrics>,
    last_error: Mutex<Option<String>>,
}

/// Counts and latencies of a model, by version.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelStats {
    /// The model's name.
    pub name: String,
    /// Its versions, the newest last; the last 64 are kept.
    pub versions: Vec<VersionStats>,
}

/// Counts and latencies of one version.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VersionStats {
    /// The version's number.
    pub version: u64,
    /// Calls answered or refused.
    pub requests: u64,
    /// Rows answered.
    pub rows: u64,
    /// Calls refused or failed.
    pub errors: u64,
    /// The last error: of a prediction, or of a reload that left this version serving.
    pub last_error: Option<String>,
    /// Time spent in answered calls.
    pub total: Duration,
    /// Runs of the model: several requests of a batch are one, an answer of the cache is none.
    pub runs: u64,
    /// Time of all runs.
    pub run: Duration,
    /// Time that answered calls waited for a turn.
    pub queue: Duration,
    /// Calls that the cache answered.
    pub cache_hits: u64,
    /// Calls for which the cache was asked and the model ran.
    pub cache_misses: u64,
    /// Median latency of answered calls (the upper end of a bucket, at most 29 % high), zero when
    /// there are none.
    pub p50: Duration,
    /// 95th percentile.
    pub p95: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Whether this version serves now.
    pub serving: bool,
}

impl Counts {
    pub(super) fn new(version: u64, metrics: Arc<VersionMetrics>) -> Counts {
        Counts { version, metrics, last_error: Mutex::default() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A request that failed.
    pub(super) fn failed(&self, error: &Error) {
        self.metrics.failed(error.kind());
        *self.last_error.lock() = Some(error.to_string());
    }

    /// A request whose answer, or the end of what was cancelled, came after its deadline.
    pub(super) fn missed(&self) {
        self.metrics.failed(ErrorKind::DeadlineExceeded);
        *self.last_error.lock() = Some("the deadline passed before the answer was there".into());
    }

    /// A reload that left this version serving.
    pub(super) fn reload_failed(&self, error: &Error) {
        *self.last_error.lock() = Some(format!("reload refused: {error}"));
    }

    pub(super) fn snapshot(&self, serving: bool) -> VersionStats {
        let totals = self.metrics.totals();
        VersionStats {
            version: self.version,
            requests: totals.answered + totals.failed,
            rows: totals.rows,
            errors: totals.failed,
            last_error: self.last_error.lock().clone(),
            total: totals.latency,
            runs: totals.runs,
            run: totals.run,
            queue: totals.queue,
            cache_hits: totals.cache_hits,
            cache_misses: totals.cache_misses,
            p50: self.metrics.latency_quantile(0.50),
            p95: self.metrics.latency_quantile(0.95),
            p99: self.metrics.latency_quantile(0.99),
            serving,
        }
    }
}
