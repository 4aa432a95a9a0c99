//! Counters of one version, one set a shard of the threads.

use super::OUTCOMES;
use super::bucket::{COARSE, FINE, ROWS};
use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The counters of one shard. Relaxed everywhere: each is a sum on its own, nothing is ordered by
/// them, and every exported counter is a sum of these, so that none ever falls between scrapes.
///
/// Aligned so that no two shards share a line, nor a pair of lines that is fetched together.
#[repr(align(128))]
pub(super) struct Shard {
    /// Requests begun.
    pub(super) begun: AtomicU64,
    /// Requests of one row answered by a run of their own, by its time; they are in none of the
    /// counts below.
    pub(super) single: [AtomicU64; FINE],
    /// Their times together.
    pub(super) single_ns: AtomicU64,
    /// Answered requests by latency: without waiting, and after waiting.
    pub(super) latency: [[AtomicU64; FINE]; 2],
    /// Their latencies together.
    pub(super) latency_ns: AtomicU64,
    /// Rows answered.
    pub(super) rows: AtomicU64,
    /// Runs by time: of one row, and of several.
    pub(super) run: [[AtomicU64; COARSE]; 2],
    /// Their times together.
    pub(super) run_ns: AtomicU64,
    /// Runs that were not of one row, by rows.
    pub(super) run_rows: [AtomicU64; ROWS],
    /// Their rows together.
    pub(super) run_rows_sum: AtomicU64,
    /// Requests that waited, by the time they did.
    pub(super) queue: [AtomicU64; COARSE],
    /// Their times together.
    pub(super) queue_ns: AtomicU64,
    /// Failed requests by the code of their error.
    pub(super) failed: [AtomicU64; OUTCOMES],
    /// Requests refused at the door.
    pub(super) shed: AtomicU64,
    /// Requests that the cache answered.
    pub(super) hits: AtomicU64,
    /// Requests for which the cache was asked in vain.
    pub(super) misses: AtomicU64,
    /// Answers as a canary.
    pub(super) canary: AtomicU64,
    /// Answers as a fallback.
    pub(super) fallback: AtomicU64,
    /// Answers compared as a shadow.
    pub(super) shadow: AtomicU64,
    /// Those that differed.
    pub(super) shadow_diff: AtomicU64,
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    array::from_fn(|_| AtomicU64::new(0))
}

impl Shard {
    pub(super) fn new() -> Shard {
        Shard {
            begun: AtomicU64::new(0),
            single: zeros(),
            single_ns: AtomicU64::new(0),
            latency: [zeros(), zeros()],
            latency_ns: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            run: [zeros(), zeros()],
            run_ns: AtomicU64::new(0),
            run_rows: zeros(),
            run_rows_sum: AtomicU64::new(0),
            queue: zeros(),
            queue_ns: AtomicU64::new(0),
            failed: zeros(),
            shed: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            canary: AtomicU64::new(0),
            fallback: AtomicU64::new(0),
            shadow: AtomicU64::new(0),
            shadow_diff: AtomicU64::new(0),
        }
    }
}

/// Counts one at `index`; nothing where there is no such place.
pub(super) fn count(cells: &[AtomicU64], index: usize) {
    if let Some(cell) = cells.get(index) {
        cell.fetch_add(1, Relaxed);
    }
}

/// Adds the counts of `from` to `to`.
pub(super) fn add<const N: usize>(to: &mut [u64; N], from: &[AtomicU64; N]) {
    for (sum, cell) in to.iter_mut().zip(from) {
        *sum = sum.wrapping_add(cell.load(Relaxed));
    }
}

/// A number of this thread, given out in turn: threads of equal number modulo the shards share
/// one.
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Relaxed);
    }
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

/// How many shards: a power of two near the number of processors, eight at most.
pub(super) fn shards() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    threads.next_power_of_two().min(8)
}
