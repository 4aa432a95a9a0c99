//! Counts and latencies of one version, kept without a lock on the predict path.

use crate::error::Error;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets of the latency histogram: four a power of two, from 1 ns to about 4 minutes.
const BUCKETS: usize = 152;

/// The counters of one version. Relaxed everywhere: each is a sum on its own, nothing is ordered
/// by them.
pub(super) struct Counters {
    version: u64,
    requests: AtomicU64,
    rows: AtomicU64,
    errors: AtomicU64,
    total_ns: AtomicU64,
    latency: [AtomicU64; BUCKETS],
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
    /// Median latency of answered calls (within a bucket of 19 %), zero when there are none.
    pub p50: Duration,
    /// 95th percentile.
    pub p95: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Whether this version serves now.
    pub serving: bool,
}

fn bucket(ns: u64) -> usize {
    if ns < 4 {
        return ns as usize;
    }
    let log = ns.ilog2() as usize;
    let quarter = (ns >> (log - 2)) as usize & 3;
    (log * 4 + quarter).min(BUCKETS - 1)
}

/// The upper end of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (log, quarter) = (bucket / 4, bucket as u64 % 4);
    ((5 + quarter) << (log - 2)) - 1
}

impl Counters {
    pub(super) fn new(version: u64) -> Counters {
        Counters {
            version,
            requests: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
            last_error: Mutex::new(None),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn success(&self, rows: usize, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Relaxed);
        self.rows(rows);
        self.total_ns.fetch_add(ns, Relaxed);
        if let Some(count) = self.latency.get(bucket(ns)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn rows(&self, rows: usize) {
        if rows > 0 {
            self.rows.fetch_add(rows as u64, Relaxed);
        }
    }

    pub(super) fn failure(&self, error: &Error) {
        self.requests.fetch_add(1, Relaxed);
        self.errors.fetch_add(1, Relaxed);
        *self.last_error.lock() = Some(error.to_string());
    }

    /// A reload that left this version serving.
    pub(super) fn reload_failed(&self, error: &Error) {
        *self.last_error.lock() = Some(format!("reload refused: {error}"));
    }

    pub(super) fn snapshot(&self, serving: bool) -> VersionStats {
        let counts: Vec<u64> = self.latency.iter().map(|c| c.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let quantile = |q: f64| {
            let rank = (total as f64 * q).ceil() as u64;
            let mut seen = 0;
            for (i, count) in counts.iter().enumerate() {
                seen += count;
                if seen >= rank && seen > 0 {
                    return Duration::from_nanos(upper(i));
                }
            }
            Duration::ZERO
        };
        VersionStats {
            version: self.version,
            requests: self.requests.load(Relaxed),
            rows: self.rows.load(Relaxed),
            errors: self.errors.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            total: Duration::from_nanos(self.total_ns.load(Relaxed)),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            serving,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_narrow() {
        let mut last = 0;
        for ns in [4u64, 5, 7, 8, 10, 100, 1_000, 1_234, 5_000_000, u64::MAX >> 30] {
            let b = bucket(ns);
            assert!(b >= last, "{ns}");
            last = b;
            if b < BUCKETS - 1 {
                assert!(
                    upper(b) >= ns && upper(b) as f64 <= ns as f64 * 1.26,
                    "{ns}: {}",
                    upper(b)
                );
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_follow_the_counts() {
        let counters = Counters::new(7);
        for _ in 0..98 {
            counters.success(2, Duration::from_micros(10));
        }
        counters.success(2, Duration::from_millis(1));
        counters.success(2, Duration::from_millis(1));
        let s = counters.snapshot(true);
        assert_eq!((s.requests, s.rows, s.errors, s.version), (100, 200, 0, 7));
        assert!(s.p50 >= Duration::from_micros(10) && s.p50 < Duration::from_micros(13));
        assert!(s.p99 >= Duration::from_millis(1));
    }
}
