//! The metrics of one version: recorded by requests, read by a scrape.

use super::bucket::{self, COARSE, FINE, ROWS};
use super::shard::{Shard, add, count, shards, thread_number};
use super::{OUTCOMES, outcome_index};
use crate::error::ErrorKind;
use crate::model::{CacheUse, Receipt, Route};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VersionState {
    /// Known, not yet being loaded.
    #[default]
    Start,
    /// Being read, compiled, probed and warmed.
    Loading,
    /// Can be asked.
    Available,
    /// Out of service; requests under way still hold it.
    Unloading,
    /// Gone, or never loaded.
    End,
}

impl VersionState {
    /// Every state, in the order of a version's life.
    pub const ALL: [VersionState; 5] = [
        VersionState::Start,
        VersionState::Loading,
        VersionState::Available,
        VersionState::Unloading,
        VersionState::End,
    ];

    /// The state's name as TensorFlow Serving spells it: `START`, `LOADING`, `AVAILABLE`,
    /// `UNLOADING` or `END`.
    pub fn name(self) -> &'static str {
        match self {
            VersionState::Start => "START",
            VersionState::Loading => "LOADING",
            VersionState::Available => "AVAILABLE",
            VersionState::Unloading => "UNLOADING",
            VersionState::End => "END",
        }
    }

    /// The state as a label of a metric: `start`, `loading`, `available`, `unloading` or `end`.
    pub fn label(self) -> &'static str {
        match self {
            VersionState::Start => "start",
            VersionState::Loading => "loading",
            VersionState::Available => "available",
            VersionState::Unloading => "unloading",
            VersionState::End => "end",
        }
    }
}

/// Gauges that a version's policies know, read at the moment of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveGauges {
    /// Requests that wait for a turn.
    pub queue_depth: u64,
    /// Bytes of kept answers.
    pub cache_bytes: u64,
}

/// Sums of what a version has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Requests answered.
    pub answered: u64,
    /// Requests refused or failed.
    pub failed: u64,
    /// Rows answered.
    pub rows: u64,
    /// Time of answered requests together.
    pub latency: Duration,
    /// Requests begun and not yet ended.
    pub in_flight: u64,
    /// Runs of the model.
    pub runs: u64,
    /// Time of all runs.
    pub run: Duration,
    /// Time that answered requests waited for a turn.
    pub queue: Duration,
    /// Requests that the cache answered.
    pub cache_hits: u64,
    /// Requests for which the cache was asked and the model ran.
    pub cache_misses: u64,
}

type Live = Box<dyn Fn() -> Option<LiveGauges> + Send + Sync>;

/// The metrics of one version. Made once by [`super::Metrics::version`]; recording takes no lock
/// and allocates nothing.
///
/// Each request is one [`VersionMetrics::begin`] followed by exactly one of
/// [`VersionMetrics::answered`] and [`VersionMetrics::failed`], on whatever thread; each time the
/// model itself runs is one [`VersionMetrics::ran`].
pub struct VersionMetrics {
    model: Box<str>,
    version: Box<str>,
    shards: Box<[Shard]>,
    state: AtomicU8,
    bytes: AtomicU64,
    load_ns: AtomicU64,
    live: ArcSwapOption<Live>,
}

impl VersionMetrics {
    pub(super) fn new(model: &str, version: &str) -> VersionMetrics {
        VersionMetrics {
            model: model.into(),
            version: version.into(),
            shards: (0..shards()).map(|_| Shard::new()).collect(),
            state: AtomicU8::new(0),
            bytes: AtomicU64::new(0),
            load_ns: AtomicU64::new(0),
            live: ArcSwapOption::empty(),
        }
    }

    /// The label `model`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The label `version`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// This thread's shard.
    fn record(&self, f: impl FnOnce(&Shard)) {
        if let Some(shard) = self.shards.get(thread_number() & self.shards.len().saturating_sub(1))
        {
            f(shard);
        }
    }

    /// A request came.
    pub fn begin(&self) {
        self.record(|s| {
            s.begun.fetch_add(1, Relaxed);
        });
    }

    /// A request of `rows` rows was answered `latency` after it came, as `receipt` says.
    pub fn answered(&self, rows: usize, latency: Duration, receipt: &Receipt) {
        let ns = nanoseconds(latency);
        self.record(|s| {
            let waited = !receipt.queue.is_zero();
            let [at_once, after_waiting] = &s.latency;
            count(if waited { after_waiting } else { at_once }, bucket::fine(ns));
            s.latency_ns.fetch_add(ns, Relaxed);
            s.rows.fetch_add(rows as u64, Relaxed);
            if waited {
                let ns = nanoseconds(receipt.queue);
                count(&s.queue, bucket::coarse_of(bucket::fine(ns)));
                s.queue_ns.fetch_add(ns, Relaxed);
            }
            match receipt.cache {
                CacheUse::Off => {}
                CacheUse::Hit | CacheUse::Shared => {
                    s.hits.fetch_add(1, Relaxed);
                }
                CacheUse::Miss | CacheUse::Partial => {
                    s.misses.fetch_add(1, Relaxed);
                }
            }
            match receipt.route {
                Route::Stable => {}
                Route::Canary => {
                    s.canary.fetch_add(1, Relaxed);
                }
                Route::Fallback => {
                    s.fallback.fetch_add(1, Relaxed);
                }
            }
        });
    }

    /// A request of `rows` rows was answered by a run of its own alone, both in `took`:
    /// [`VersionMetrics::answered`] and [`VersionMetrics::ran`] in one.
    pub fn answered_by_run(&self, rows: usize, took: Duration, receipt: &Receipt) {
        if rows != 1 || receipt.route != Route::Stable || !receipt.queue.is_zero() {
            self.answered(rows, took, receipt);
            return self.ran(rows, took);
        }
        let ns = nanoseconds(took);
        self.record(|s| {
            count(&s.single, bucket::fine(ns));
            s.single_ns.fetch_add(ns, Relaxed);
        });
    }

    /// A request was refused or failed.
    pub fn failed(&self, kind: ErrorKind) {
        self.record(|s| count(&s.failed, outcome_index(kind)));
    }

    /// The model ran once, on `rows` rows (of however many requests), for `took`.
    pub fn ran(&self, rows: usize, took: Duration) {
        let ns = nanoseconds(took);
        let bucket = bucket::coarse_of(bucket::fine(ns));
        self.record(|s| {
            let [one, several] = &s.run;
            if rows == 1 {
                count(one, bucket);
            } else {
                count(several, bucket);
                count(&s.run_rows, bucket::of_rows(rows));
                s.run_rows_sum.fetch_add(rows as u64, Relaxed);
            }
            s.run_ns.fetch_add(ns, Relaxed);
        });
    }

    /// Admission refused a request at the door. The request fails too, which is recorded by
    /// [`VersionMetrics::failed`].
    pub fn shed(&self) {
        self.record(|s| {
            s.shed.fetch_add(1, Relaxed);
        });
    }

    /// This version answered as a shadow, and its answer was compared.
    pub fn shadowed(&self, differed: bool) {
        self.record(|s| {
            s.shadow.fetch_add(1, Relaxed);
            if differed {
                s.shadow_diff.fetch_add(1, Relaxed);
            }
        });
    }

    /// What the version is doing now.
    pub fn set_state(&self, state: VersionState) {
        self.state.store(state as u8, Relaxed);
    }

    /// The version was loaded in `took` and takes `bytes` bytes.
    pub fn loaded(&self, bytes: u64, took: Duration) {
        self.bytes.store(bytes, Relaxed);
        self.load_ns.store(nanoseconds(took), Relaxed);
    }

    /// The version takes `bytes` bytes now: 0 once it was dropped.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Asks `gauges` at each scrape for what only the version's policies know. It must not block,
    /// and should hold the version weakly, so that metrics keep no model in memory; where it
    /// answers `None` the gauges are 0.
    pub fn observe(&self, gauges: impl Fn() -> Option<LiveGauges> + Send + Sync + 'static) {
        let gauges: Live = Box::new(gauges);
        self.live.store(Some(Arc::new(gauges)));
    }

    /// Sums of what was recorded.
    pub fn totals(&self) -> Totals {
        self.reading().totals()
    }

    /// The latency of answered requests that the part `q` (0 to 1) of them does not pass: the
    /// upper bound of a bucket, at most 29 % high; zero when there are none, 100 s beyond that.
    pub fn latency_quantile(&self, q: f64) -> Duration {
        let reading = self.reading();
        let total: u64 = reading.latency.iter().flatten().sum();
        let rank = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let [at_once, after_waiting] = &reading.latency;
        for (i, (a, b)) in at_once.iter().zip(after_waiting).enumerate() {
            seen += a + b;
            if seen >= rank {
                return Duration::from_nanos(bucket::fine_bound(i));
            }
        }
        Duration::ZERO
    }

    /// The sums over all shards at this moment.
    pub(super) fn reading(&self) -> Reading {
        let mut r = Reading {
            state: VersionState::ALL
                .get(usize::from(self.state.load(Relaxed)))
                .copied()
                .unwrap_or_default(),
            bytes: self.bytes.load(Relaxed),
            load_ns: self.load_ns.load(Relaxed),
            live: self.live.load_full().and_then(|live| live()).unwrap_or_default(),
            ..Reading::default()
        };
        for s in &self.shards {
            // What has ended is read before what has begun: never more of the former.
            for (to, from) in r.latency.iter_mut().zip(&s.latency) {
                add(to, from);
            }
            let mut single = [0; FINE];
            add(&mut single, &s.single);
            let ([at_once, _], [one, _]) = (&mut r.latency, &mut r.run);
            for (fine, n) in single.into_iter().enumerate() {
                if let (Some(request), Some(run)) =
                    (at_once.get_mut(fine), one.get_mut(bucket::coarse_of(fine)))
                {
                    *request += n;
                    *run += n;
                }
                r.rows += n;
            }
            let single_ns = s.single_ns.load(Relaxed);
            r.latency_ns = r.latency_ns.wrapping_add(single_ns);
            r.run_ns = r.run_ns.wrapping_add(single_ns);
            add(&mut r.failed, &s.failed);
            for (to, from) in r.run.iter_mut().zip(&s.run) {
                add(to, from);
            }
            add(&mut r.run_rows, &s.run_rows);
            add(&mut r.queue, &s.queue);
            for (to, from) in [
                (&mut r.latency_ns, &s.latency_ns),
                (&mut r.rows, &s.rows),
                (&mut r.run_ns, &s.run_ns),
                (&mut r.run_rows_sum, &s.run_rows_sum),
                (&mut r.queue_ns, &s.queue_ns),
                (&mut r.shed, &s.shed),
                (&mut r.hits, &s.hits),
                (&mut r.misses, &s.misses),
                (&mut r.canary, &s.canary),
                (&mut r.fallback, &s.fallback),
                (&mut r.shadow, &s.shadow),
                (&mut r.shadow_diff, &s.shadow_diff),
            ] {
                *to = to.wrapping_add(from.load(Relaxed));
            }
        }
        // A request may begin on one thread and end on another, so only the sums compare.
        r.begun = self.shards.iter().map(|s| s.begun.load(Relaxed)).sum();
        r
    }
}

impl std::fmt::Debug for VersionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VersionMetrics")
            .field("model", &self.model)
            .field("version", &self.version)
            .field("totals", &self.totals())
            .finish()
    }
}

/// What a scrape reads of a version, once for all families.
pub(super) struct Reading {
    pub(super) begun: u64,
    pub(super) latency: [[u64; FINE]; 2],
    pub(super) latency_ns: u64,
    pub(super) rows: u64,
    pub(super) run: [[u64; COARSE]; 2],
    pub(super) run_ns: u64,
    pub(super) run_rows: [u64; ROWS],
    pub(super) run_rows_sum: u64,
    pub(super) queue: [u64; COARSE],
    pub(super) queue_ns: u64,
    pub(super) failed: [u64; OUTCOMES],
    pub(super) shed: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) canary: u64,
    pub(super) fallback: u64,
    pub(super) shadow: u64,
    pub(super) shadow_diff: u64,
    pub(super) state: VersionState,
    pub(super) bytes: u64,
    pub(super) load_ns: u64,
    pub(super) live: LiveGauges,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            begun: 0,
            latency: [[0; FINE]; 2],
            latency_ns: 0,
            rows: 0,
            run: [[0; COARSE]; 2],
            run_ns: 0,
            run_rows: [0; ROWS],
            run_rows_sum: 0,
            queue: [0; COARSE],
            queue_ns: 0,
            failed: [0; OUTCOMES],
            shed: 0,
            hits: 0,
            misses: 0,
            canary: 0,
            fallback: 0,
            shadow: 0,
            shadow_diff: 0,
            state: VersionState::Start,
            bytes: 0,
            load_ns: 0,
            live: LiveGauges::default(),
        }
    }
}

impl Reading {
    pub(super) fn totals(&self) -> Totals {
        let answered = self.answered();
        let failed = self.failed.iter().sum();
        Totals {
            answered,
            failed,
            rows: self.rows,
            latency: Duration::from_nanos(self.latency_ns),
            in_flight: self.begun.saturating_sub(answered).saturating_sub(failed),
            runs: self.runs(),
            run: Duration::from_nanos(self.run_ns),
            queue: Duration::from_nanos(self.queue_ns),
            cache_hits: self.hits,
            cache_misses: self.misses,
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.latency.iter().flatten().sum()
    }

    /// Answered requests by latency, in the exported buckets.
    pub(super) fn request_buckets(&self) -> [u64; COARSE] {
        let mut out = [0; COARSE];
        for counts in &self.latency {
            for (fine, n) in counts.iter().enumerate() {
                if let Some(sum) = out.get_mut(bucket::coarse_of(fine)) {
                    *sum += n;
                }
            }
        }
        out
    }

    /// Answered requests by the time they waited: the first bucket holds those that did not.
    pub(super) fn queue_buckets(&self) -> [u64; COARSE] {
        let mut out = self.queue;
        let [at_once, _] = &self.latency;
        if let Some(first) = out.first_mut() {
            *first += at_once.iter().sum::<u64>();
        }
        out
    }

    /// Runs by time.
    pub(super) fn run_buckets(&self) -> [u64; COARSE] {
        let [one, several] = &self.run;
        let mut out = *one;
        out.iter_mut().zip(several).for_each(|(sum, n)| *sum += n);
        out
    }

    /// Runs by rows, and the rows together.
    pub(super) fn row_buckets(&self) -> ([u64; ROWS], u64) {
        let [one, _] = &self.run;
        let singles: u64 = one.iter().sum();
        let mut out = self.run_rows;
        if let Some(first) = out.first_mut() {
            *first += singles;
        }
        (out, self.run_rows_sum.wrapping_add(singles))
    }

    pub(super) fn runs(&self) -> u64 {
        self.run.iter().flatten().sum()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
