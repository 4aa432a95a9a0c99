//! Response cache by row.
//!
//! A row that was answered before is answered from memory: bit for bit as the model answered
//! it. A batch runs only the rows that are not there. Of callers who ask for the same missing
//! row at once, one runs the model (single flight). What is kept belongs to one loaded version, so
//! nothing stale is answered after a reload; errors and what non-deterministic models answer are
//! not kept. `docs/caching.md` says when it pays.

mod flight;
mod key;
mod lookup;
mod rows;
mod settle;
mod store;
#[cfg(test)]
mod tests;

pub use store::{CacheOptions, CacheStats, CacheStore};

use crate::error::Result;
use crate::model::{
    CacheUse, Ctx, Done, Features, Model, ModelInfo, Predictions, Reply, Request, Signature, Task,
    TensorSpec, contain,
};
use crate::process;
use crate::sync::OnceLock;
use crate::tensor::{ElementType, Tensor};
use flight::{Call, Flights, Joined, Turn, Waited};
use key::{Key, Space};
use lookup::{Job, Step};
use settle::{Lead, whole_reply};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Entry;

/// How often a caller that waits for another's run looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(10);
/// Tables of open flights, a lock each.
const FLIGHT_TABLES: usize = 16;

/// A model whose answers are kept.
///
/// It wraps one loaded version. Where that is not deterministic, or has no digest (a function
/// that does not say what it is), every request goes through to it.
///
/// Rows are kept one by one, whether they came alone or in a batch. A request for named outputs,
/// and any request to a model of plain tensors ([`Task::Tensors`], or an input without a row
/// axis), is kept whole. Of a batch, rows that are missing are run together; only where it is a
/// single row does the batch wait for, or lead, callers of the same row. (A batch that waited
/// for each of its rows would be as slow as the slowest of their callers.)
pub struct Cache {
    inner: Arc<dyn Model>,
    store: Arc<CacheStore>,
    space: Space,
    flights: Box<[Flights<Key, Arc<Entry>>]>,
    scope: Scope,
    /// The form of a batch's answer, without rows: known once a batch has run. `None` where
    /// rows of it could not be put together again: then batches go through.
    form: OnceLock<Option<Predictions>>,
    version: u64,
    digest: Arc<str>,
    /// The process generation that its locks, and those who wait in its flights, belong to.
    generation: u64,
}

/// What is kept of the model's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Nothing,
    /// `f32`: the only input is `[rows, width]` of `f32`, so that rows of `f32` are what binding
    /// would make of them.
    Rows {
        f32: bool,
    },
    Whole,
}

/// A submitted request with something missing.
struct Asked {
    job: Box<Job<'static>>,
    ctx: Ctx,
    done: Done,
    began: Instant,
}

impl Cache {
    /// Keeps the answers of `inner` in `store`. Another `Cache` on the same model and store has
    /// entries of its own: a loaded version has one.
    pub fn new(inner: Arc<dyn Model>, store: Arc<CacheStore>) -> Cache {
        let info = inner.info();
        let signature = inner.signature();
        let space = store.open_space(&info.digest, &signature);
        Cache {
            scope: scope(&info, &signature),
            flights: (0..FLIGHT_TABLES).map(|_| Flights::default()).collect(),
            form: OnceLock::new(),
            version: info.version,
            digest: info.digest,
            generation: process::generation(),
            inner,
            store,
            space,
        }
    }

    /// Where the answers are kept.
    pub fn store(&self) -> &Arc<CacheStore> {
        &self.store
    }

    /// Runs what is missing, unless somebody runs it already.
    fn fly(&self, job: &Job<'_>, ctx: &mut Ctx, began: Instant) -> Result<Reply> {
        let Some(key) = job.only_key() else { return self.run(job, None, ctx, began) };
        let join = || self.flights(key).join(key);
        let mut ticket = match join() {
            Joined::Lead(leader) => return self.lead(job, leader, ctx, began),
            Joined::Wait(ticket) => ticket,
        };
        loop {
            // Nothing wakes a caller that is cancelled: it looks from time to time.
            let poll = ctx.cancel.as_ref().map(|_| Instant::now() + CANCEL_POLL);
            let until = [ctx.deadline, poll].into_iter().flatten().min();
            match ticket.wait(until) {
                Waited::Told(Turn::Lead(leader)) => {
                    // It has waited: whoever is asked next is asked now.
                    ctx.arrive(Instant::now());
                    return self.lead(job, leader, ctx, began);
                }
                Waited::Told(Turn::Shared(entry)) => {
                    if let Some(reply) = self.share(job, &entry, ctx, began)? {
                        return Ok(reply);
                    }
                    // The first batch, and a row landed: one batch has to run.
                    ctx.arrive(Instant::now());
                    ticket = match join() {
                        Joined::Lead(leader) => return self.lead(job, leader, ctx, began),
                        Joined::Wait(ticket) => ticket,
                    };
                }
                Waited::TimedOut(again) => {
                    ctx.check()?;
                    ticket = again;
                }
            }
        }
    }

    fn lead(&self, job: &Job<'_>, leader: Lead, ctx: &mut Ctx, began: Instant) -> Result<Reply> {
        match self.landed(job, leader, ctx, began) {
            Ok(result) => result,
            Err(leader) => {
                ctx.check()?;
                self.run(job, Some(leader), ctx, began)
            }
        }
    }

    fn run(
        &self,
        job: &Job<'_>,
        leader: Option<Lead>,
        ctx: &mut Ctx,
        began: Instant,
    ) -> Result<Reply> {
        let result = self.inner.call(&job.request, ctx);
        self.settle(job, leader, result, ctx, began)
    }

    /// As [`Cache::fly`], without holding a thread.
    fn fly_later(self: Arc<Self>, asked: Asked) {
        let Some(key) = asked.job.only_key().cloned() else { return self.run_later(None, asked) };
        let cache = self.clone();
        let told = |mut asked: Asked| -> Call<Key, Arc<Entry>> {
            Box::new(move |turn| match turn {
                Turn::Shared(entry) => cache.share_later(asked, &entry),
                // On another thread: a row of waiters whose turns all fail at once must not
                // become a tower of calls.
                Turn::Lead(leader) => crate::executor::spawn(move || {
                    asked.ctx.arrive(Instant::now());
                    cache.lead_later(leader, asked);
                }),
            })
        };
        if let Some((leader, asked)) = self.flights(&key).join_with(&key, asked, told) {
            self.lead_later(leader, asked);
        }
    }

    fn share_later(self: Arc<Self>, mut asked: Asked, entry: &Arc<Entry>) {
        let Asked { job, ctx, began, .. } = &mut asked;
        match contain(|| self.share(job, entry, ctx, *began)) {
            // As in `fly`.
            Ok(None) => {
                asked.ctx.arrive(Instant::now());
                self.fly_later(asked);
            }
            Ok(Some(reply)) => asked.finish(Ok(reply)),
            Err(error) => asked.finish(Err(error)),
        }
    }

    fn lead_later(self: Arc<Self>, leader: Lead, mut asked: Asked) {
        match self.landed(&asked.job, leader, &mut asked.ctx, asked.began) {
            Ok(result) => asked.finish(result),
            Err(leader) => match asked.ctx.check() {
                Ok(()) => self.run_later(Some(leader), asked),
                Err(error) => {
                    drop(leader);
                    asked.finish(Err(error));
                }
            },
        }
    }

    fn run_later(self: Arc<Self>, leader: Option<Lead>, asked: Asked) {
        let Asked { job, ctx, done, began } = asked;
        let (inner, request) = (self.inner.clone(), job.request.clone());
        let done = Done::new(move |result, mut ctx| {
            let result = contain(|| self.settle(&job, leader, result, &mut ctx, began));
            done.call(result, ctx);
        });
        inner.submit(request, ctx, done);
    }

    fn flights(&self, key: &Key) -> &Flights<Key, Arc<Entry>> {
        &self.flights[key.part(FLIGHT_TABLES)]
    }
}

impl Asked {
    /// Delivers; a host's completion that panics does not take those after it along.
    fn finish(self, result: Result<Reply>) {
        let _ = contain(|| {
            self.done.call(result, self.ctx);
            Ok(())
        });
    }
}

impl Model for Cache {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let began = ctx.arrived();
        match self.plan(request, ctx, began)? {
            Step::Pass => self.inner.call(request, ctx),
            Step::Run(job) => self.fly(&job, ctx, began),
            Step::Found(entry) => {
                self.sign(ctx, CacheUse::Hit);
                Ok(whole_reply(&entry, ctx, began))
            }
            Step::Joined(mut batch) => {
                self.sign(ctx, CacheUse::Hit);
                batch.latency = ctx.end_run(began);
                Ok(Reply::Batch(batch))
            }
        }
    }

    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        let began = ctx.arrived();
        match contain(|| self.plan(&request, &ctx, began)) {
            Ok(Step::Pass) => self.inner.clone().submit(request, ctx, done),
            Ok(Step::Found(entry)) => {
                self.sign(&mut ctx, CacheUse::Hit);
                let reply = whole_reply(&entry, &mut ctx, began);
                done.call(Ok(reply), ctx);
            }
            Ok(Step::Joined(mut batch)) => {
                self.sign(&mut ctx, CacheUse::Hit);
                batch.latency = ctx.end_run(began);
                done.call(Ok(Reply::Batch(batch)), ctx);
            }
            Ok(Step::Run(job)) => self.fly_later(Asked { job, ctx, done, began }),
            Err(error) => done.call(Err(error), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.inner.estimated_ns(rows)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            // A lock of the store may be held by a thread that is not here, and those who wait
            // for a flight are the parent's to answer.
            std::mem::forget(std::mem::take(&mut self.flights));
            return;
        }
        self.store.close_space(self.space.id);
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("version", &self.version)
            .field("scope", &self.scope)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What can be kept of a model's answers.
fn scope(info: &ModelInfo, signature: &Signature) -> Scope {
    if !info.deterministic || info.digest.is_empty() {
        return Scope::Nothing;
    }
    let by_rows = |input: &TensorSpec| input.batch_axis == Some(0);
    if signature.task == Task::Tensors
        || signature.inputs.is_empty()
        || !signature.inputs.iter().all(by_rows)
    {
        return Scope::Whole;
    }
    let f32 = match signature.inputs.as_slice() {
        [input] => {
            input.dtype() == Some(ElementType::F32) && input.dims().is_some_and(|d| d.len() == 2)
        }
        _ => false,
    };
    Scope::Rows { f32 }
}
