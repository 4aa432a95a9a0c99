//! Dynamic batching that never waits when idle.
//!
//! A request that finds a run free runs at once, in its caller's thread and unchanged. While all
//! runs are taken, arrivals queue (by priority, then arrival), and when a run ends the head of the
//! queue gets it together with all that is compatible: rows with rows, named outputs with
//! requests for the same ones, of the same element types and shapes. The size of a batch so
//! follows the load by itself; [`BatchOptions::max_queue_delay`] only adds to that.
//!
//! Rows are checked before they join. When a batch fails it is halved until the rows that fail
//! stand alone: their neighbours are answered. Answers are cut by position and never mix.

mod group;
mod invariance;
mod lane;
mod options;
mod run;
mod serve;
#[cfg(test)]
mod tests;

pub use invariance::Invariance;
pub use options::BatchOptions;
pub(crate) use options::MAX_CONCURRENCY;

use super::Load;
use crate::error::Result;
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature};
use crate::tensor::Tensor;
use group::Member;
use lane::{Enter, Lane};
use parking_lot::Mutex;
use serve::{Entry, Shared, decline, spawn};
use std::sync::Arc;
use std::time::Instant;

/// One version's lane: batches its requests, and bounds how many run and wait.
///
/// Only requests that are queued are batched. One that its deadline finds waiting is answered
/// `DeadlineExceeded` by its blocked caller at once, and by [`Model::submit`] when its turn comes.
/// A cancelled request is dropped when its turn comes (by a blocked caller within 20 ms); a run for
/// several is not cancelled. A low priority waits as long as higher ones keep coming.
pub struct Batch {
    shared: Arc<Shared>,
}

impl Batch {
    /// A lane before `inner`, which keeps `load` up to date. Where batches are asked for, the
    /// model is first tried with random rows, alone and in batches; where answers depend on the
    /// batch nothing is batched, and [`Batch::invariance`] says so.
    ///
    /// # Errors
    /// `InvalidArgument` for options that make no sense.
    pub fn new(inner: Arc<dyn Model>, options: BatchOptions, load: Arc<Load>) -> Result<Batch> {
        options.check()?;
        let invariance = match options.max_batch_size {
            1 => Invariance::NotNeeded,
            most => invariance::probe(&*inner, most, &options.preferred_batch_sizes),
        };
        let batches = invariance.allows(options.batch_invariant);
        let concurrency = options.runs(batches);
        let seen = load.clone();
        let observe = Box::new(move |queued, running| seen.set(queued, running));
        let shared = Shared {
            signature: inner.signature(),
            inner,
            lane: Lane::new(concurrency, options.max_queue_size, observe),
            rules: options.rules(batches),
            capacity: options.max_queue_size,
            concurrency,
            load,
            invariance,
            process: Mutex::new(std::process::id()),
            apart: Mutex::default(),
        };
        Ok(Batch { shared: Arc::new(shared) })
    }

    /// Whether requests may share a run: they were asked to, and may.
    pub fn batches(&self) -> bool {
        self.shared.rules.most > 1
    }

    /// What the probe at construction found.
    pub fn invariance(&self) -> &Invariance {
        &self.shared.invariance
    }

    /// Most runs side by side.
    pub fn concurrency(&self) -> usize {
        self.shared.concurrency
    }

    /// How busy the lane is.
    pub fn load(&self) -> &Arc<Load> {
        &self.shared.load
    }
}

impl Model for Batch {
    fn signature(&self) -> Arc<Signature> {
        self.shared.signature.clone()
    }

    fn info(&self) -> ModelInfo {
        self.shared.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        if self.shared.acquire() {
            return self.shared.direct(request, ctx);
        }
        self.shared.queue(request, ctx)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let shared = &self.shared;
        if let Err(e) = ctx.check() {
            return done.call(Err(e), ctx);
        }
        let mut member = Member { rows: None, request: None, ctx, done: Some(done) };
        if !shared.acquire() {
            match shared.rows(&request) {
                Ok(rows) => member.rows = rows,
                Err(e) => return decline(member, e),
            }
            member.request = Some(request);
            member = match shared.enter(member, false) {
                Enter::Run(member) => member,
                Enter::Full(member) => return decline(member, shared.overloaded()),
                Enter::Queued | Enter::Wait(_) => return,
            };
            // It found a run free after all: as if it had at once.
            member.rows = None;
        } else {
            member.request = Some(request);
        }
        spawn(shared.clone(), Entry::unqueued(member, Instant::now()));
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.shared.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.shared.inner.estimated_ns(rows)
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (queued, running) = self.shared.lane.counts();
        f.debug_struct("Batch")
            .field("queued", &queued)
            .field("running", &running)
            .field("rules", &self.shared.rules)
            .field("concurrency", &self.shared.concurrency)
            .field("invariance", &self.shared.invariance)
            .finish_non_exhaustive()
    }
}
