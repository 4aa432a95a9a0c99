//! One name: its versions, labels and policies behind one pointer.
//!
//! A request reads the state once and is answered by what it finds there. Loading happens aside,
//! under a lock that requests never touch; what comes of it is published in one step.

use super::Registry;
use super::cell::Cell;
use super::events::EventBus;
use super::load::Loading;
use super::memory::Memory;
use super::policies::Live;
use super::recent::Recent;
use super::stats::Counts;
use super::statuses::Statuses;
use super::version::Version;
use crate::error::{Error, Result, err};
use crate::executor;
use crate::metrics::{Metrics, ModelMetrics, trace};
use crate::model::{
    Ctx, Done, Features, LoadOptions, Model, ModelInfo, Prediction, Receipt, Reply, Request,
    Signature, Target,
};
use crate::policy::deadline::{Deadline, DeadlineOptions};
use crate::process;
use crate::record::{Recorder, Sampled};
use crate::tensor::Tensor;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Versions whose counts are kept after they went.
pub(super) const KEPT_VERSIONS: usize = 64;
/// Labels of one model: they are set by people and programs of the operator.
pub(super) const MAX_LABELS: usize = 256;

/// Where a version came from, so that it can be loaded again.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub version: u64,
    pub path: Option<PathBuf>,
    pub digest: Arc<str>,
    pub options: LoadOptions,
}

/// Who answers requests that name no version.
#[derive(Clone)]
pub(super) enum Serving {
    /// Nobody: the model was unloaded.
    Nobody,
    /// This version.
    Version(Arc<Version>),
    /// This version, once it is loaded again: it was unloaded to make room.
    Parked(Arc<Origin>),
}

/// What a request sees. Never changed, only replaced.
#[derive(Clone)]
pub(super) struct State {
    /// The versions that can be asked, by number.
    pub versions: BTreeMap<u64, Arc<Version>>,
    pub serving: Serving,
    pub labels: BTreeMap<Arc<str>, u64>,
    /// What serves after a rollback.
    pub previous: Option<Arc<Origin>>,
    pub live: Live,
    /// The process generation that the policies' queues and counts belong to.
    pub generation: u64,
}

/// A named place for versions.
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) me: Weak<Slot>,
    pub(super) cell: Cell<State>,
    /// Serialises loads of this name; predictions never touch it.
    pub(super) loading: Mutex<Loading>,
    pub(super) statuses: Mutex<Statuses>,
    pub(super) recent: Recent,
    pub(super) events: Arc<EventBus>,
    pub(super) memory: Arc<Memory>,
    pub(super) registry: Weak<Registry>,
    pub(super) metrics: Arc<Metrics>,
    /// What is counted of the name as a whole.
    pub(super) model_metrics: Arc<ModelMetrics>,
    pub(super) started: Instant,
    pub(super) recorder: ArcSwapOption<Recorder>,
    pub(super) history: Mutex<VecDeque<Arc<Counts>>>,
}

impl Slot {
    pub(super) fn new(name: &str, keep: usize, registry: &Arc<Registry>) -> Arc<Slot> {
        Arc::new_cyclic(|me| Slot {
            name: name.into(),
            me: me.clone(),
            cell: Cell::new(State {
                versions: BTreeMap::new(),
                serving: Serving::Nobody,
                labels: BTreeMap::new(),
                previous: None,
                live: Live::default(),
                generation: process::generation(),
            }),
            loading: Mutex::new(Loading::new(keep)),
            statuses: Mutex::default(),
            recent: Recent::default(),
            events: registry.events.clone(),
            memory: registry.memory.clone(),
            registry: Arc::downgrade(registry),
            metrics: registry.metrics.clone(),
            model_metrics: registry.metrics.model(name),
            started: Instant::now(),
            recorder: ArcSwapOption::empty(),
            history: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn gone(&self) -> Error {
        err!(NotFound, "was unloaded").with_model(&self.name)
    }

    pub(super) fn no_version(&self, state: &State, version: u64) -> Error {
        let e = match self.statuses.lock().error_of(version) {
            Some((kind, message)) => {
                Error::new(kind, format!("version {version} is not available: {message}"))
            }
            None => {
                let known: Vec<String> = state.versions.keys().map(u64::to_string).collect();
                err!(NotFound, "there is no version {version} (available: {})", known.join(", "))
            }
        };
        e.with_model(&self.name)
    }

    pub(super) fn no_label(&self, state: &State, label: &str) -> Error {
        let known: Vec<&str> = state.labels.keys().map(|l| &**l).collect();
        err!(NotFound, "there is no label '{label}' (known: {})", known.join(", "))
            .with_model(&self.name)
    }

    /// The version that `target` means now, to keep.
    pub(super) fn version(&self, target: &Target) -> Result<Arc<Version>> {
        let state = self.cell.full();
        let number = match target {
            Target::Serving => match &state.serving {
                Serving::Version(version) => return Ok(version.clone()),
                Serving::Nobody => return Err(self.gone()),
                Serving::Parked(origin) => return self.revive(origin),
            },
            Target::Version(number) => *number,
            Target::Label(label) => {
                *state.labels.get(label).ok_or_else(|| self.no_label(&state, label))?
            }
        };
        match (state.versions.get(&number), &state.serving) {
            (Some(version), _) => Ok(version.clone()),
            (None, Serving::Parked(origin)) if origin.version == number => self.revive(origin),
            (None, _) => Err(self.no_version(&state, number)),
        }
    }

    /// The version that serves, to keep.
    pub(super) fn current(&self) -> Result<Arc<Version>> {
        self.version(&Target::Serving)
    }

    /// Whether a request may be answered straight by the serving version, in this step.
    fn plain(state: &State) -> Option<&Version> {
        match (&state.serving, &state.live.top) {
            (Serving::Version(version), None) if !state.is_foreign() => Some(version),
            _ => None,
        }
    }

    /// The model that answers this request: a version, or the policies above. A deadline that
    /// the request brings is kept in any case.
    fn asked(&self, ctx: &Ctx) -> Result<Arc<dyn Model>> {
        self.settle();
        if ctx.target == Target::Serving
            && let Some(top) = self.cell.with(|state| state.live.top.clone())
        {
            return Ok(top);
        }
        let version = self.version(&ctx.target)?;
        Ok(match ctx.deadline {
            Some(_) => Arc::new(Deadline::new(version, DeadlineOptions::default())),
            None => version,
        })
    }

    /// After a fork, makes the policies anew: their queues and counts are the parent's.
    fn settle(&self) {
        if self.cell.with(State::is_foreign)
            && let Some(_loading) = self.loading.try_lock()
        {
            let policies = self.cell.with(|state| state.live.policies.clone());
            if let Err(e) = self.restack(policies) {
                tracing::warn!(target: "modelserve::lifecycle", model = &*self.name,
                    "the policies cannot be made anew after a fork: {e}");
            }
        }
    }

    /// The signature of the serving version, unless that has to be loaded first.
    pub(super) fn ready_signature(&self) -> Option<Arc<Signature>> {
        self.cell.with(|state| match &state.serving {
            Serving::Version(version) => Some(version.info().signature.clone()),
            Serving::Parked(_) | Serving::Nobody => None,
        })
    }

    /// What a call costs that goes straight to the serving version; `None` where it does not.
    pub(super) fn expected_ns(&self, rows: usize) -> Option<u64> {
        self.cell.with(|state| Slot::plain(state).and_then(|version| version.expected_ns(rows)))
    }

    pub(super) fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        let features = || Features::F32 { data: row, rows: 1, width: row.len() };
        if self.recorder.load().is_some() {
            return self.predict(features());
        }
        let plain = self.cell.with(|state| Slot::plain(state).map(|v| v.predict_row(row)));
        match plain {
            Some(prediction) => {
                if prediction.is_ok() {
                    self.recent.offer(|| Request::Row(features()));
                }
                prediction
            }
            None => self.predict(features()),
        }
    }

    /// Answers a request straight by the serving version where nothing stands in between.
    fn answer(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let plain = match (&ctx.target, ctx.deadline) {
            (Target::Serving, None) => {
                self.cell.with(|state| Slot::plain(state).map(|v| v.call(request, ctx)))
            }
            _ => None,
        };
        match plain {
            Some(reply) => reply,
            None => {
                let asked = self.asked(ctx)?;
                self.named(asked.call(request, ctx))
            }
        }
    }

    /// A copy of the request, where it is to be recorded, and when it came.
    fn sample(&self, request: &Request<'_>) -> Option<(Sampled, Instant)> {
        let recorder = self.recorder.load();
        let sampled = recorder.as_ref()?.sample(&self.name, request)?;
        Some((sampled, Instant::now()))
    }

    fn note_fallback(&self, receipt: &Receipt) {
        if let Some(reason) = &receipt.fallback {
            self.model_metrics.fell_back(reason.kind);
        }
    }

    /// Every error of a request leaves with the model's name.
    pub(super) fn named<R>(&self, result: Result<R>) -> Result<R> {
        result.map_err(|e| e.with_model(&self.name))
    }
}

impl State {
    /// The file of the serving version.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match &self.serving {
            Serving::Version(version) => version.info().path.clone(),
            Serving::Parked(origin) => origin.path.clone(),
            Serving::Nobody => None,
        }
    }

    /// Whether the policies' state belongs to the parent of this forked process.
    fn is_foreign(&self) -> bool {
        self.generation != process::generation()
    }

    /// Drops versions beyond `keep`: never the serving one, nor one that a label or a policy
    /// points to.
    pub(super) fn trim(&mut self, keep: usize) -> Vec<Arc<Version>> {
        let serving = match &self.serving {
            Serving::Version(v) => Some(v.number()),
            _ => None,
        };
        let held = |number: u64| {
            Some(number) == serving
                || self.labels.values().any(|v| *v == number)
                || self.live.names_version(number)
        };
        let free: Vec<u64> = self.versions.keys().copied().filter(|n| !held(*n)).collect();
        let spare = free.len().saturating_sub(keep.saturating_sub(1));
        // The version that served last is the one a rollback wants: it goes last.
        let previous = self.previous.as_ref().map(|p| p.version);
        let mut order = free;
        order.sort_by_key(|n| (Some(*n) == previous, *n));
        order.into_iter().take(spare).filter_map(|n| self.versions.remove(&n)).collect()
    }
}

impl Model for Slot {
    fn signature(&self) -> Arc<Signature> {
        match self.current() {
            Ok(version) => version.signature(),
            Err(_) => Arc::default(),
        }
    }

    fn info(&self) -> ModelInfo {
        match self.current() {
            Ok(version) => version.info().clone(),
            Err(_) => ModelInfo::unloaded(&self.name),
        }
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let span = trace::request_span(&self.name);
        let _entered = span.enter();
        let sampled = self.sample(request);
        let reply = self.answer(request, ctx);
        match &reply {
            Ok(_) => {
                trace::answered_by(&span, ctx.receipt.version, ctx.receipt.route);
                self.note_fallback(&ctx.receipt);
                self.recent.offer(|| request.clone());
            }
            Err(e) => trace::failed_with(&span, e.kind()),
        }
        if let Some((sampled, began)) = sampled {
            sampled.finish(ctx.receipt.version, &reply, began.elapsed());
        }
        reply
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        if self.cell.with(|state| matches!(state.serving, Serving::Parked(_))) {
            // Loading takes long: not on the caller's thread.
            return executor::spawn(move || {
                if let Err(e) = self.current() {
                    return done.call(Err(e), ctx);
                }
                self.submit(request, ctx, done);
            });
        }
        self.recent.offer(|| request.clone());
        let sampled = self.sample(&request);
        match self.asked(&ctx) {
            Ok(asked) => {
                let slot = self;
                let done = Done::new(move |result, ctx: Ctx| {
                    slot.note_fallback(&ctx.receipt);
                    let result = slot.named(result);
                    if let Some((sampled, began)) = sampled {
                        sampled.finish(ctx.receipt.version, &result, began.elapsed());
                    }
                    done.call(result, ctx);
                });
                asked.submit(request, ctx, done);
            }
            Err(e) => done.call(Err(e), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.current()?.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.cell.with(|state| match &state.serving {
            Serving::Version(v) => v.estimated_ns(rows),
            _ => 0,
        })
    }
}
