//! One version in service.

use super::measured::Measured;
use super::policies::Parts;
use super::slot::{Origin, Slot};
use super::stats::Counts;
use crate::error::{Error, ErrorKind, Result};
use crate::executor;
use crate::kernel::heap;
use crate::model::{
    Buffers, Ctx, Done, Features, Insight, LoadOptions, Model, ModelInfo, Prediction, Receipt,
    Reply, Request, Signature, Written, contain,
};
use crate::policy::batch::{Batch, BatchOptions};
use crate::process;
use crate::tensor::Tensor;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a version is, whatever policies stand around it: its model and its counts. Dropped when
/// nobody holds the version any more.
pub(super) struct Core {
    pub(super) model: Arc<dyn Model>,
    pub(super) info: ModelInfo,
    pub(super) name: Arc<str>,
    pub(super) counts: Arc<Counts>,
    /// Nanoseconds of `Slot::started` at the last request; kept where idle models may go.
    last_used: Option<AtomicU64>,
    slot: Weak<Slot>,
    started: Instant,
    options: LoadOptions,
    /// Where submitted requests take turns while no batching is configured, and the process
    /// generation it was made in.
    lane: Mutex<Option<(u64, Arc<dyn Model>)>>,
    /// Dropped after all that takes memory.
    _returned: Returned,
}

/// The memory of a version, which the system gets back when the version is gone.
struct Returned {
    bytes: u64,
}

impl Returned {
    /// Below this the heap is not looked through.
    const WORTH_IT: u64 = 4 << 20;
}

impl Drop for Returned {
    fn drop(&mut self) {
        static DUE: AtomicBool = AtomicBool::new(false);
        // Looking through the heap takes time that the last request of a version must not wait for.
        if self.bytes >= Self::WORTH_IT && !DUE.swap(true, Relaxed) {
            executor::spawn(|| {
                DUE.store(false, Relaxed);
                crate::tensor::spare::clear();
                heap::trim();
            });
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.upgrade() {
            slot.ended(self.info.version);
        }
    }
}

/// A version with the policies around it. Immutable but for the counts; a change of policies
/// makes another `Version` over the same [`Core`].
#[derive(Clone)]
pub struct Version {
    /// Dropped first: policies hold the model, too.
    pub(super) parts: Parts,
    pub(super) core: Arc<Core>,
}

impl Version {
    /// A version of `slot`, numbered `number`, without policies yet.
    pub(super) fn new(
        slot: &Slot,
        model: Arc<dyn Model>,
        number: u64,
        options: LoadOptions,
    ) -> Version {
        let mut info = model.info();
        info.name = Some(slot.name.to_string());
        info.version = number;
        let held = model.memory();
        let core = Core {
            _returned: Returned { bytes: held.weights.saturating_add(held.packed) },
            model,
            info,
            name: slot.name.clone(),
            counts: slot.counts_of(number),
            last_used: slot.memory.evicts().then(AtomicU64::default),
            slot: slot.me.clone(),
            started: slot.started,
            options,
            lane: Mutex::default(),
        };
        core.touch(Instant::now());
        Version { core: Arc::new(core), parts: Parts::default() }
    }

    /// The same version behind other policies.
    pub(super) fn with_parts(&self, parts: Parts) -> Version {
        Version { core: self.core.clone(), parts }
    }

    pub(super) fn number(&self) -> u64 {
        self.core.info.version
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.core.info
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.core.counts
    }

    /// What a call costs that meets no policy; `None` where it meets one.
    pub(super) fn expected_ns(&self, rows: usize) -> Option<u64> {
        self.parts.stack.is_none().then(|| self.estimated_ns(rows))
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.core.counts.metrics.totals().in_flight
    }
}

impl Core {
    /// The model, with its runs counted.
    pub(super) fn measured(&self) -> Arc<dyn Model> {
        let (inner, metrics) = (self.model.clone(), self.counts.metrics.clone());
        Arc::new(Measured { inner, metrics })
    }

    /// The model behind a lane that runs as many submitted requests at once as there are CPUs:
    /// a slow model must not take the threads of others.
    fn lane(&self) -> Arc<dyn Model> {
        let generation = process::generation();
        let mut lane = self.lane.lock();
        if let Some((made, lane)) = &*lane
            && *made == generation
        {
            return lane.clone();
        }
        let batch = Batch::new(self.measured(), BatchOptions::default(), Arc::default());
        let made: Arc<dyn Model> = match batch {
            Ok(batch) => Arc::new(batch),
            Err(_) => self.measured(),
        };
        *lane = Some((generation, made.clone()));
        made
    }

    /// Most bytes of a request that it takes.
    pub(super) fn max_request_bytes(&self) -> u64 {
        self.options.request_limits.request_bytes
    }

    /// Where it came from, to load it again.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            version: self.info.version,
            path: self.info.path.clone(),
            digest: self.info.digest.clone(),
            companions: self.info.companions.clone(),
            options: self.options.clone(),
        }
    }

    /// When it was last asked, in nanoseconds of the slot's age; 0 where that is not kept.
    pub(super) fn last_used(&self) -> u64 {
        self.last_used.as_ref().map_or(0, |at| at.load(Relaxed))
    }

    fn touch(&self, now: Instant) {
        if let Some(at) = &self.last_used {
            let age = now.saturating_duration_since(self.started);
            at.store(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// Says who answered: the number under which the version is served, whatever the model
    /// itself goes by.
    fn sign(&self, reply: &mut Reply, ctx: &mut Ctx) {
        reply.set_version(self.info.version);
        self.sign_receipt(&mut ctx.receipt);
    }

    fn sign_receipt(&self, receipt: &mut Receipt) {
        receipt.version = self.info.version;
        receipt.model = Some(self.name.clone());
    }

    /// A request came, at this moment.
    fn begin(&self) -> Instant {
        let now = Instant::now();
        self.touch(now);
        self.counts.metrics.begin();
        now
    }

    /// A request failed; `late` tells whether its deadline had passed then.
    fn fail(&self, e: Error, late: bool) -> Error {
        let e = e.with_model(&self.name);
        match e.kind() {
            // A deadline above cancels what it has left behind.
            ErrorKind::Cancelled if late => {
                self.counts.missed();
                return e;
            }
            ErrorKind::Overloaded => self.counts.metrics.shed(),
            _ => {}
        }
        self.counts.failed(&e);
        e
    }

    /// A request was answered: counted as such where that is in time.
    fn answered(&self, rows: usize, took: Duration, receipt: &Receipt, late: bool) {
        match late {
            false => self.counts.metrics.answered(rows, took, receipt),
            true => self.counts.missed(),
        }
    }

    /// Asks the model where no policy stands before it: the request is the run.
    fn plain<R>(
        &self,
        rows: usize,
        ctx: &mut Ctx,
        ask: impl FnOnce(&dyn Model, &mut Ctx) -> Result<R>,
    ) -> Result<R> {
        let began = self.begin();
        // A host's own model may panic; the library's do not.
        let (result, took) = ctx.time_run(began, |ctx| contain(|| ask(&*self.model, ctx)));
        let late = is_late(ctx.deadline, began, took);
        match result {
            Ok(answer) => {
                self.sign_receipt(&mut ctx.receipt);
                if late {
                    self.counts.metrics.ran(rows, took);
                    self.counts.missed();
                } else {
                    self.counts.metrics.answered_by_run(rows, took, &ctx.receipt);
                }
                Ok(answer)
            }
            Err(e) => Err(self.fail(e, late)),
        }
    }
}

/// Whether what took so long ended after the deadline.
fn is_late(deadline: Option<Instant>, began: Instant, took: Duration) -> bool {
    deadline.is_some_and(|deadline| deadline.saturating_duration_since(began) <= took)
}

impl Model for Version {
    fn signature(&self) -> Arc<Signature> {
        self.core.info.signature.clone()
    }

    fn info(&self) -> ModelInfo {
        self.core.info.clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let (core, rows) = (&self.core, request.rows());
        let Some(stack) = &self.parts.stack else {
            let mut reply = core.plain(rows, ctx, |model, ctx| model.call(request, ctx))?;
            reply.set_version(self.number());
            return Ok(reply);
        };
        let began = core.begin();
        ctx.arrive(began);
        let result = contain(|| stack.call(request, ctx));
        let ended = ctx.ended().unwrap_or_else(Instant::now);
        ctx.leave();
        let took = ended.saturating_duration_since(began);
        let late = is_late(ctx.deadline, began, took);
        match result {
            Ok(mut reply) => {
                core.sign(&mut reply, ctx);
                core.answered(rows, took, &ctx.receipt, late);
                Ok(reply)
            }
            Err(e) => Err(core.fail(e, late)),
        }
    }

    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        let (began, rows) = (self.core.begin(), request.rows());
        let core = self.core.clone();
        let asked = self.parts.stack.clone().unwrap_or_else(|| self.core.lane());
        ctx.arrive(began);
        let deadline = ctx.deadline;
        let done = Done::new(move |result: Result<Reply>, mut ctx: Ctx| {
            ctx.leave();
            let took = began.elapsed();
            let late = is_late(deadline, began, took);
            let result = match result {
                Ok(mut reply) => {
                    core.sign(&mut reply, &mut ctx);
                    core.answered(rows, took, &ctx.receipt, late);
                    Ok(reply)
                }
                Err(e) => Err(core.fail(e, late)),
            };
            // The lease ends before the caller hears of the answer.
            drop(core);
            done.call(result, ctx);
        });
        // One that panics has dropped its completion, which tells of it.
        let _ = contain(|| {
            asked.submit(request, ctx, done);
            Ok(())
        });
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.core.model.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.core.model.estimated_ns(rows)
    }

    fn insight(&self) -> Option<Arc<Insight>> {
        self.core.model.insight()
    }

    fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        if self.parts.stack.is_some() {
            return self.call(request, ctx)?.write(out);
        }
        let ask = |model: &dyn Model, ctx: &mut Ctx| model.call_into(request, out, ctx);
        let mut written = self.core.plain(request.rows(), ctx, ask)?;
        written.model_version = self.number();
        Ok(written)
    }

    fn call_row(&self, row: &[f32], ctx: &mut Ctx) -> Result<Prediction> {
        if self.parts.stack.is_some() {
            let features = Features::F32 { data: row, rows: 1, width: row.len() };
            return self.call(&Request::Row(features), ctx)?.into_row();
        }
        let mut prediction = self.core.plain(1, ctx, |model, ctx| model.call_row(row, ctx))?;
        prediction.model_version = self.number();
        Ok(prediction)
    }
}
