//! How busy a version is: kept by its lane, read by admission.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How busy a version is. Relaxed everywhere: an estimate, which orders nothing.
#[derive(Debug, Default)]
pub struct Load {
    queued: AtomicUsize,
    running: AtomicUsize,
    row_ns: AtomicU64,
}

impl Load {
    /// Requests that wait for a turn.
    pub fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Runs under way.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// How long one request takes, batching included: a moving average of a run's time divided
    /// by the requests in it. Zero until something has run.
    pub fn per_request(&self) -> Duration {
        Duration::from_nanos(self.row_ns.load(Relaxed))
    }

    /// How long a request that arrives now would wait, with `lanes` runs side by side.
    pub fn expected_wait(&self, lanes: usize) -> Duration {
        let waiting = self.queued() as u64 + u64::from(self.running() >= lanes.max(1));
        let ns = self.row_ns.load(Relaxed).saturating_mul(waiting) / lanes.max(1) as u64;
        Duration::from_nanos(ns)
    }

    /// Sets how many wait and run; called by the lane when either changes.
    pub fn set(&self, queued: usize, running: usize) {
        self.queued.store(queued, Relaxed);
        self.running.store(running, Relaxed);
    }

    /// Notes a run of `requests` requests that took `took`.
    pub fn ran(&self, requests: usize, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / requests.max(1) as u64;
        let old = self.row_ns.load(Relaxed);
        let next = if old == 0 { ns } else { old - old / 8 + ns / 8 };
        self.row_ns.store(next.max(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_wait_grows_with_the_queue_and_shrinks_with_lanes() {
        let load = Load::default();
        assert_eq!(load.expected_wait(1), Duration::ZERO);
        load.ran(4, Duration::from_millis(4));
        load.set(10, 1);
        assert_eq!(load.expected_wait(1), Duration::from_millis(11));
        assert!(load.expected_wait(2) < load.expected_wait(1));
        load.set(0, 0);
        assert_eq!(load.expected_wait(1), Duration::ZERO);
    }
}
