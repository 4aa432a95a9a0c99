//! The library's own worker threads.
//!
//! One process-wide pool a size, started when the first piece of work is large enough, and keyed
//! by process id: threads do not survive `fork`, so a child that inherits a pool starts its own
//! instead of waiting for workers that are not there. A small model never comes here.

use arc_swap::ArcSwapOption;
use std::ops::Range;
use std::sync::Arc;

struct Pool {
    pid: u32,
    pool: rayon::ThreadPool,
}

/// A lazily started pool of at most `size` threads.
pub struct Threads {
    size: usize,
    pool: ArcSwapOption<Pool>,
}

/// Work (in rough nanoseconds of one core) below which splitting costs more than it gains:
/// handing a task to the pool takes about 5 µs.
const WORTH_SPLITTING_NS: usize = 100_000;

impl Threads {
    /// A pool of `size` threads; 0 means the process's CPU quota ([`available_cpus`]).
    pub fn new(size: usize) -> Threads {
        let size = if size == 0 { available_cpus() } else { size };
        Threads { size, pool: ArcSwapOption::empty() }
    }

    /// How many threads may work at once.
    pub fn size(&self) -> usize {
        self.size
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        let pid = std::process::id();
        if let Some(pool) = self.pool.load_full() {
            if pool.pid == pid {
                return Some(pool);
            }
            // The parent's pool: its threads do not exist here and dropping it would wait for them.
            std::mem::forget(pool);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.size)
            .thread_name(|i| format!("modelserve-{i}"))
            .build()
            .ok()?;
        let pool = Arc::new(Pool { pid, pool });
        if let Some(old) = self.pool.swap(Some(pool.clone()))
            && old.pid != pid
        {
            std::mem::forget(old);
        }
        Some(pool)
    }

    /// Runs `work` on a thread of the pool, where whatever it splits through rayon stays; `None`
    /// when no thread can be started. For code of others that would use rayon's global pool.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Option<R> {
        Some(self.pool()?.pool.install(work))
    }

    /// Runs `body` over the pieces of `0..items`, in parallel when `items × ns_per_item` makes it
    /// worth while, else in the calling thread. Pieces are multiples of `grain` items except the
    /// last. When no thread can be started the work is done here.
    pub fn split<F>(&self, items: usize, ns_per_item: usize, grain: usize, body: F)
    where
        F: Fn(Range<usize>) + Send + Sync,
    {
        self.split_dyn(items, ns_per_item, grain, &body);
    }

    /// One piece of code for all bodies: what hands pieces to the pool is far larger than most of
    /// them, and would hold a copy of its body for each of the ways to call it.
    #[inline(never)]
    fn split_dyn(
        &self,
        items: usize,
        ns_per_item: usize,
        grain: usize,
        body: &(dyn Fn(Range<usize>) + Sync),
    ) {
        let grain = grain.max(1);
        let work = items.saturating_mul(ns_per_item);
        if self.size < 2 || items <= grain || work < WORTH_SPLITTING_NS {
            return body(0..items);
        }
        let Some(pool) = self.pool() else { return body(0..items) };
        let pieces =
            self.size.min(work.div_ceil(WORTH_SPLITTING_NS / 2)).min(items.div_ceil(grain)).max(1);
        let step = items.div_ceil(pieces).div_ceil(grain) * grain;
        // The caller works as well: it is awake, and a worker has to be woken.
        pool.pool.in_place_scope(|scope| {
            let mut start = step.min(items);
            while start < items {
                let end = (start + step).min(items);
                scope.spawn(move |_| body(start..end));
                start = end;
            }
            body(0..step.min(items));
        });
    }

    /// As [`Threads::split`], over the chunks of `out`, `row` elements an item: `body` gets the
    /// item range and the slice of `out` that belongs to it.
    pub fn split_rows<T, F>(&self, out: &mut [T], row: usize, ns_per_item: usize, body: F)
    where
        T: Send,
        F: Fn(Range<usize>, &mut [T]) + Send + Sync,
    {
        self.split_rows_dyn(out, row, ns_per_item, &body);
    }

    /// As `split_dyn`: once for each type of elements.
    #[inline(never)]
    fn split_rows_dyn<T: Send>(
        &self,
        out: &mut [T],
        row: usize,
        ns_per_item: usize,
        body: &(dyn Fn(Range<usize>, &mut [T]) + Sync),
    ) {
        let row = row.max(1);
        let items = out.len() / row;
        let work = items.saturating_mul(ns_per_item);
        if self.size < 2 || items < 2 || work < WORTH_SPLITTING_NS {
            return body(0..items, out);
        }
        let Some(pool) = self.pool() else { return body(0..items, out) };
        let pieces = self.size.min(work.div_ceil(WORTH_SPLITTING_NS / 2)).min(items).max(1);
        let step = items.div_ceil(pieces);
        pool.pool.in_place_scope(|scope| {
            let (own, others) = out.split_at_mut((step * row).min(out.len()));
            for (i, chunk) in others.chunks_mut(step * row).enumerate() {
                let start = (i + 1) * step;
                let end = start + chunk.len() / row;
                scope.spawn(move |_| body(start..end, chunk));
            }
            let end = own.len() / row;
            body(0..end, own);
        });
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("size", &self.size).finish()
    }
}

/// How many CPUs this process may use: the cgroup's quota (v2, then v1) where one is set, capped
/// by the scheduler's affinity mask; at least 1.
pub fn available_cpus() -> usize {
    // std's count honours both cgroup quotas and the affinity mask on Linux.
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_item_is_visited_once() {
        let threads = Threads::new(3);
        let hits: Vec<AtomicUsize> = (0..1001).map(|_| AtomicUsize::new(0)).collect();
        threads.split(1001, 10_000, 8, |range| {
            for i in range {
                hits[i].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
        let mut out = vec![0usize; 1001 * 3];
        threads.split_rows(&mut out, 3, 10_000, |range, chunk| {
            assert_eq!(chunk.len(), range.len() * 3);
            for (i, row) in range.zip(chunk.chunks_mut(3)) {
                row.fill(i);
            }
        });
        assert!(out.chunks(3).enumerate().all(|(i, row)| row == [i, i, i]));
    }

    #[test]
    fn small_work_starts_no_thread() {
        let threads = Threads::new(4);
        threads.split(10, 10, 1, |_| {});
        assert!(threads.pool.load().is_none());
    }
}
