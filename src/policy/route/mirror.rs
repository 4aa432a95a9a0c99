//! Answers that were given, asked again of another model, aside: what shadows and the comparison
//! of canaries with stable have in common.
//!
//! Nothing here can hold up, fail or change an answer: requests come after they were answered,
//! wait in a bounded queue (full: dropped and counted), and one job of the executor works it off
//! one by one, so that a slow model holds one thread and no more.

use super::shadow::{Example, ShadowOptions};
use super::split::{KeyHash, Sequence, units};
use crate::error::{Result, ensure};
use crate::metrics::histogram::Histogram;
use crate::model::{Ctx, Difference, Reply, Request, compare, contain};
use crate::policy::Resolve;
use crate::sync::OnceLock;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// Upper ends of the buckets of relative drift; one more bucket is above the last.
pub(super) const DRIFT: [f64; 9] = [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Disagreement is summed in parts of a request.
const PARTS: f64 = 1e6;

thread_local! {
    /// This thread is handing work to the executor, which runs it at once where it cannot start
    /// a thread.
    static OFFERING: Cell<bool> = const { Cell::new(false) };
}

/// An answer that was given.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) version: u64,
    pub(super) key: Option<Arc<str>>,
    pub(super) took: Duration,
}

impl Answered {
    pub(super) fn new(reply: &Reply, ctx: &Ctx, took: Duration) -> Answered {
        let (version, key) = (ctx.receipt.version, ctx.key.clone());
        Answered { reply: reply.clone(), version, key, took }
    }
}

struct Job {
    request: Request<'static>,
    answered: Answered,
    /// Counts the job as pending until it is done or dropped.
    _permit: Permit,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    draining: bool,
}

/// What belongs to one process: after a fork, the parent's queue has no thread that works on it,
/// and its locks may be held by threads that are not there.
struct Lane {
    pid: u32,
    pending: AtomicUsize,
    queue: Mutex<Queue>,
    kept: Mutex<Vec<Example>>,
}

impl Lane {
    fn new() -> Arc<Lane> {
        Arc::new(Lane {
            pid: std::process::id(),
            pending: AtomicUsize::new(0),
            queue: Mutex::default(),
            kept: Mutex::default(),
        })
    }
}

struct Permit(Arc<Lane>);

impl Permit {
    fn take(lane: &Arc<Lane>, most: usize) -> Option<Permit> {
        // Relaxed: a count that nothing else is published by.
        lane.pending
            .fetch_update(Relaxed, Relaxed, |n| (n < most).then_some(n + 1))
            .is_ok()
            .then(|| Permit(lane.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

/// What was found. Relaxed: sums that order nothing.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sampled: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) too_large: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) compared: AtomicU64,
    pub(super) disagreed: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) disagreed_rows: AtomicU64,
    shares: AtomicU64,
    pub(super) drift: [AtomicU64; DRIFT.len() + 1],
    pub(super) primary: Histogram,
    pub(super) candidate: Histogram,
}

impl Found {
    fn note(&self, difference: &Difference) {
        self.disagreed.fetch_add(u64::from(!difference.agrees()), Relaxed);
        self.rows.fetch_add(difference.rows as u64, Relaxed);
        self.disagreed_rows.fetch_add(difference.disagreed as u64, Relaxed);
        self.shares.fetch_add((difference.share() * PARTS).round() as u64, Relaxed);
        let bucket = DRIFT.partition_point(|end| *end < difference.max_rel);
        if let Some(count) = self.drift.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.compared.fetch_add(1, Relaxed);
    }

    /// How many requests disagreed, each counting by the share of its rows.
    pub(super) fn disagreement(&self) -> f64 {
        self.shares.load(Relaxed) as f64 / PARTS
    }
}

/// Room for one request.
pub(super) struct Place {
    mirror: Arc<Mirror>,
    permit: Permit,
}

impl Place {
    /// Takes the request; it is asked again as soon as those before it are done.
    pub(super) fn fill(self, request: &Request<'_>, answered: Answered) {
        let Place { mirror, permit } = self;
        // A request that was answered has as many values as it says.
        let Ok(request) = request.clone().into_owned() else { return };
        let lane = permit.0.clone();
        let mut queue = lane.queue.lock();
        queue.jobs.push_back(Job { request, answered, _permit: permit });
        if std::mem::replace(&mut queue.draining, true) {
            return;
        }
        drop(queue);
        OFFERING.set(true);
        crate::executor::spawn(move || mirror.drain(&lane));
        OFFERING.set(false);
    }
}

pub(super) struct Mirror {
    resolve: Resolve,
    pub(super) options: ShadowOptions,
    fraction: AtomicU64,
    keys: KeyHash,
    sequence: Sequence,
    lane: ArcSwap<Lane>,
    closed: AtomicBool,
    listener: OnceLock<Listener>,
    pub(super) found: Found,
}

/// Hears of each comparison: the candidate's version, and whether the answers disagree.
type Listener = Box<dyn Fn(u64, bool) + Send + Sync>;

impl Mirror {
    /// # Errors
    /// `InvalidArgument` for a fraction that is none.
    pub(super) fn new(resolve: Resolve, options: ShadowOptions) -> Result<Arc<Mirror>> {
        let mirror = Mirror {
            resolve,
            fraction: AtomicU64::new(0),
            keys: KeyHash::new(&format!("shadow of {}", options.salt)),
            options,
            sequence: Sequence::default(),
            lane: ArcSwap::new(Lane::new()),
            closed: AtomicBool::new(false),
            listener: OnceLock::new(),
            found: Found::default(),
        };
        mirror.set_fraction(mirror.options.fraction)?;
        Ok(Arc::new(mirror))
    }

    pub(super) fn set_fraction(&self, fraction: f64) -> Result<()> {
        ensure!(
            (0.0..=1.0).contains(&fraction),
            InvalidArgument,
            "the fraction of requests to mirror is from 0 to 1, got {fraction}"
        );
        self.fraction.store(units(fraction * 100.0)?, Relaxed);
        Ok(())
    }

    pub(super) fn fraction(&self) -> f64 {
        super::split::percent(self.fraction.load(Relaxed)) / 100.0
    }

    /// Whether a request is one of the fraction. To be asked once a request.
    pub(super) fn wants(&self, ctx: &Ctx) -> bool {
        let fraction = self.fraction.load(Relaxed);
        if fraction == 0 {
            return false;
        }
        let point = match &ctx.key {
            Some(key) if self.options.sticky => self.keys.point(key),
            _ => self.sequence.next(),
        };
        point < fraction
    }

    /// Makes room for a request that was answered, before anything of it is copied; `None` when
    /// there is none.
    pub(super) fn reserve(self: &Arc<Self>, request: &Request<'_>) -> Option<Place> {
        self.found.sampled.fetch_add(1, Relaxed);
        if request.byte_len() > self.options.max_request_bytes {
            self.found.too_large.fetch_add(1, Relaxed);
            return None;
        }
        let permit = Permit::take(&self.lane(), self.options.max_pending);
        let permit = permit.filter(|_| !self.closed.load(Relaxed));
        if permit.is_none() {
            self.found.dropped.fetch_add(1, Relaxed);
        }
        Some(Place { mirror: self.clone(), permit: permit? })
    }

    /// Tells `listener` of each comparison; only the first one set is told.
    pub(super) fn on_compared(&self, listener: impl Fn(u64, bool) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Asks for nothing more; what waits is dropped.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// The examples kept, the worst first.
    pub(super) fn examples(&self) -> Vec<Example> {
        let mut examples = self.lane().kept.lock().clone();
        examples.sort_by(|a, b| worse(b, a));
        examples
    }

    fn lane(&self) -> Arc<Lane> {
        let lane = self.lane.load_full();
        if lane.pid == std::process::id() {
            return lane;
        }
        // After a fork. The parent's is leaked: to drop it, its jobs would have to be touched.
        std::mem::forget(lane.clone());
        self.lane.compare_and_swap(&lane, Lane::new());
        self.lane.load_full()
    }

    fn drain(&self, lane: &Lane) {
        // Where no thread could be started, this is the caller's: drop rather than delay.
        let on_callers_thread = OFFERING.get();
        loop {
            let mut queue = lane.queue.lock();
            let Some(job) = queue.jobs.pop_front() else {
                queue.draining = false;
                return;
            };
            drop(queue);
            if on_callers_thread || self.closed.load(Relaxed) {
                self.found.dropped.fetch_add(1, Relaxed);
                continue;
            }
            // The model contains its panics, or `ask` does; a defect here must not stop the queue.
            let _ = contain(|| {
                self.work(lane, &job);
                Ok(())
            });
        }
    }

    fn work(&self, lane: &Lane, job: &Job) {
        let answered = &job.answered;
        let mut ctx = Ctx {
            deadline: Instant::now().checked_add(self.options.timeout),
            // Behind every request that somebody waits for, and without a trace in the cache.
            priority: i8::MIN,
            no_cache: true,
            key: answered.key.clone(),
            ..Ctx::default()
        };
        let began = Instant::now();
        let result = contain(|| (self.resolve)()?.call(&job.request, &mut ctx));
        let took = began.elapsed();
        let difference = match &result {
            Ok(reply) => {
                let difference = compare(&answered.reply, reply, &self.options.tolerance);
                self.found.primary.record(answered.took);
                self.found.candidate.record(took);
                self.found.note(&difference);
                if let Some(listener) = self.listener.get() {
                    listener(ctx.receipt.version, !difference.agrees());
                }
                Some(difference)
            }
            Err(_) => {
                self.found.errors.fetch_add(1, Relaxed);
                None
            }
        };
        if self.options.max_kept_examples == 0
            || difference.is_some_and(|d| d.max_rel == 0.0 && d.agrees())
        {
            return;
        }
        let mut example = Example {
            at: SystemTime::now(),
            difference,
            request: None,
            primary_version: answered.version,
            primary: None,
            candidate_version: ctx.receipt.version,
            candidate: None,
            error: None,
        };
        let mut kept = lane.kept.lock();
        if kept.len() >= self.options.max_kept_examples {
            let mildest = (0..kept.len()).min_by(|a, b| match (kept.get(*a), kept.get(*b)) {
                (Some(a), Some(b)) => worse(a, b),
                _ => std::cmp::Ordering::Equal,
            });
            let Some(mildest) = mildest else { return };
            if kept.get(mildest).is_some_and(|mild| worse(&example, mild).is_le()) {
                return;
            }
            kept.swap_remove(mildest);
        }
        let row = difference.map_or(0, |d| d.worst_row);
        let most = self.options.max_example_bytes;
        example.request = row_of(&job.request, row).filter(|r| r.byte_len() <= most);
        example.primary = answer_of(&answered.reply, row, most);
        match &result {
            Ok(reply) => example.candidate = answer_of(reply, row, most),
            Err(error) => example.error = Some(error.to_string()),
        }
        kept.push(example);
    }
}

/// Orders examples by how bad they are: errors, then the share of rows that disagree, then drift.
fn worse(a: &Example, b: &Example) -> std::cmp::Ordering {
    let rank = |e: &Example| match &e.difference {
        None => (2.0, 0.0),
        Some(d) => (d.share(), d.max_rel),
    };
    let (a, b) = (rank(a), rank(b));
    a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
}

/// One row of a request; the whole of one without rows.
fn row_of(request: &Request<'static>, row: usize) -> Option<Request<'static>> {
    use crate::model::Features;
    let features = match request {
        Request::Batch(features) => features,
        other => return Some(other.clone()),
    };
    let cut = |t: &crate::tensor::Tensor| t.rows(row..row + 1).ok();
    Some(Request::Row(match features {
        Features::Tensor(tensor) => Features::Tensor(cut(tensor)?),
        Features::Columns(columns) => Features::Columns(
            columns.iter().map(|(n, t)| Some((n.clone(), cut(t)?))).collect::<Option<_>>()?,
        ),
        Features::Inputs(tensors) => {
            Features::Inputs(tensors.iter().map(cut).collect::<Option<_>>()?)
        }
        Features::F32 { .. } | Features::F64 { .. } => return None,
    }))
}

/// One row of an answer; the whole of one without rows. Nothing when it is too large.
fn answer_of(reply: &Reply, row: usize, most: u64) -> Option<Reply> {
    use crate::model::Answer;
    let one = match reply {
        Reply::Batch(p) => p.row(row).ok()?.into(),
        other => other.clone(),
    };
    let named =
        |o: &[(String, crate::tensor::Value)]| -> u64 { o.iter().map(|(_, v)| v.byte_len()).sum() };
    let bytes = match &one {
        Reply::Tensors(outputs) => named(outputs),
        Reply::Row(p) => match &p.answer {
            Answer::Values(v) => v.len() as u64 * 8,
            Answer::Labels(v) => v.len() as u64 * 8,
            Answer::Outputs(outputs) => named(outputs),
            _ => 0,
        },
        Reply::Batch(_) => 0,
    };
    (bytes <= most).then_some(one)
}
