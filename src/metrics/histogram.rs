//! Latencies in logarithmic buckets: recorded without a lock, read as quantiles.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets a power of two; a bucket is at most 12.5 % wide.
const PARTS: u64 = 8;
/// Values from 2^42 ns (73 minutes) on fall into the last bucket.
const BUCKETS: usize = 320;

/// A histogram of durations. Relaxed everywhere: each bucket is a sum on its own, and a reader
/// that sees some records of this moment but not others is as right as one a moment earlier.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0) }
    }
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramSnapshot {
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        HistogramSnapshot { counts: vec![0; BUCKETS], sum_ns: 0 }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < PARTS {
        return ns as usize;
    }
    let log = u64::from(ns.ilog2());
    let part = (ns >> (log - 3)) & (PARTS - 1);
    (((log - 2) * PARTS + part) as usize).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn lower(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    (PARTS + bucket % PARTS) << (bucket / PARTS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    lower(bucket + 1) - 1
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
        if let Some(count) = self.buckets.get(bucket(ns)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// What it holds now.
    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self.buckets.iter().map(|c| c.load(Relaxed)).collect(),
            sum_ns: self.sum_ns.load(Relaxed),
        }
    }
}

impl HistogramSnapshot {
    /// How many durations were counted.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many durations lie in buckets wholly above `limit`: never more than there were.
    pub(crate) fn count_above(&self, limit: Duration) -> u64 {
        let ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.counts.iter().skip(bucket(ns) + 1).sum()
    }

    /// The mean; zero when nothing was counted.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns / self.count().max(1))
    }

    /// The upper end of the bucket that holds the `q`-quantile (nearest rank): at most 12.5 %
    /// above it. Zero when nothing was counted.
    pub(crate) fn quantile(&self, q: f64) -> Duration {
        let total = self.count();
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(i));
            }
        }
        Duration::ZERO
    }

    /// Adds what `other` holds.
    pub(crate) fn merge(&mut self, other: &HistogramSnapshot) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// What was counted since `earlier`, a snapshot of the same histogram.
    pub(crate) fn since(&self, earlier: &HistogramSnapshot) -> HistogramSnapshot {
        let pairs = self.counts.iter().zip(&earlier.counts);
        HistogramSnapshot {
            counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_join_without_a_gap() {
        for i in 0..BUCKETS - 1 {
            assert_eq!(upper(i) + 1, lower(i + 1), "{i}");
            assert_eq!((bucket(lower(i)), bucket(upper(i))), (i, i));
            assert!(upper(i) as f64 <= lower(i) as f64 * 1.125, "{i}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_follow_the_counts() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), Duration::ZERO);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let all = histogram.snapshot();
        assert_eq!(all.count(), 1000);
        assert_eq!(all.mean(), Duration::from_nanos(500_500));
        for (q, us) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = all.quantile(q).as_nanos() as f64 / 1000.0;
            assert!(found >= us && found <= us * 1.126, "{q}: {found}");
        }
        let above = all.count_above(Duration::from_micros(900));
        assert!((0..=100).contains(&above), "{above}");
        assert_eq!(all.count_above(Duration::from_nanos(1)), 1000);
    }

    #[test]
    fn a_window_and_a_sum_are_what_was_recorded() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(5));
        let before = histogram.snapshot();
        histogram.record(Duration::from_millis(7));
        let window = histogram.snapshot().since(&before);
        assert_eq!((window.count(), window.mean()), (1, Duration::from_millis(7)));
        let mut sum = before;
        sum.merge(&window);
        assert_eq!(sum, histogram.snapshot());
    }
}
