//! One version in service.

use super::policies::Parts;
use super::slot::{Origin, Slot};
use super::stats::Counters;
use crate::error::Result;
use crate::model::{
    Ctx, Done, Features, LoadOptions, Model, ModelInfo, Prediction, Reply, Request, Signature,
};
use crate::policy::batch::{Batch, BatchOptions};
use crate::process;
use crate::tensor::Tensor;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What a version is, whatever policies stand around it: its model and its counts. Dropped when
/// nobody holds the version any more.
pub(super) struct Core {
    pub(super) model: Arc<dyn Model>,
    pub(super) info: ModelInfo,
    pub(super) name: Arc<str>,
    pub(super) counters: Arc<Counters>,
    in_flight: AtomicUsize,
    /// Nanoseconds of `Slot::started` at the last request; kept where idle models may go.
    last_used: Option<AtomicU64>,
    slot: Weak<Slot>,
    started: Instant,
    options: LoadOptions,
    /// Where submitted requests take turns while no batching is configured, and the process
    /// generation it was made in.
    lane: Mutex<Option<(u64, Arc<dyn Model>)>>,
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
    pub(super) core: Arc<Core>,
    pub(super) parts: Parts,
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
        let core = Core {
            model,
            info,
            name: slot.name.clone(),
            counters: slot.counters_of(number),
            in_flight: AtomicUsize::new(0),
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

    pub(super) fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.core.in_flight.load(Relaxed)
    }

    fn asked(&self) -> &dyn Model {
        self.parts.stack.as_deref().unwrap_or(&*self.core.model)
    }
}

impl Core {
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
        let batch = Batch::new(self.model.clone(), BatchOptions::default(), Arc::default());
        let made: Arc<dyn Model> = match batch {
            Ok(batch) => Arc::new(batch),
            Err(_) => self.model.clone(),
        };
        *lane = Some((generation, made.clone()));
        made
    }

    /// Where it came from, to load it again.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            version: self.info.version,
            path: self.info.path.clone(),
            digest: self.info.digest.clone(),
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
        let version = self.info.version;
        match reply {
            Reply::Row(prediction) => prediction.model_version = version,
            Reply::Batch(predictions) => predictions.model_version = version,
            Reply::Tensors(_) => {}
        }
        ctx.receipt.version = version;
        ctx.receipt.model = Some(self.name.clone());
    }

    /// Counts one request around `f`.
    fn counted<R>(&self, rows: usize, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let began = Instant::now();
        self.touch(began);
        self.in_flight.fetch_add(1, Relaxed);
        let _leave = Leave(&self.in_flight);
        match f() {
            Ok(answer) => {
                self.counters.success(rows, began.elapsed());
                Ok(answer)
            }
            Err(e) => {
                let e = e.with_model(&self.name);
                self.counters.failure(&e);
                Err(e)
            }
        }
    }
}

/// Counts a request out, also when its run panics.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Model for Version {
    fn signature(&self) -> Arc<Signature> {
        self.core.info.signature.clone()
    }

    fn info(&self) -> ModelInfo {
        self.core.info.clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let mut reply = self.core.counted(request.rows(), || self.asked().call(request, ctx))?;
        self.core.sign(&mut reply, ctx);
        Ok(reply)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let began = Instant::now();
        self.core.touch(began);
        let rows = request.rows();
        let core = self.core.clone();
        core.in_flight.fetch_add(1, Relaxed);
        let asked = self.parts.stack.clone().unwrap_or_else(|| self.core.lane());
        let done = Done::new(move |result, mut ctx| {
            core.in_flight.fetch_sub(1, Relaxed);
            let mut result = result.map_err(|e| e.with_model(&core.name));
            match &mut result {
                Ok(reply) => {
                    core.counters.success(rows, began.elapsed());
                    core.sign(reply, &mut ctx);
                }
                Err(e) => core.counters.failure(e),
            }
            // The lease ends before the caller hears of the answer.
            drop(core);
            done.call(result, ctx);
        });
        asked.submit(request, ctx, done);
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.core.model.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.core.model.estimated_ns(rows)
    }

    fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        if self.parts.stack.is_none() {
            let mut p = self.core.counted(1, || self.core.model.predict_row(row))?;
            p.model_version = self.number();
            p.receipt.version = self.number();
            p.receipt.model = Some(self.core.name.clone());
            return Ok(p);
        }
        self.predict(Features::F32 { data: row, rows: 1, width: row.len() })
    }
}
