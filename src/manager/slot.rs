//! One name: its versions, labels and policies behind one pointer.
//!
//! A request reads the state once and is answered by what it finds there. Loading happens aside,
//! under a lock that requests never touch; what comes of it is published in one step.

use super::Registry;
use super::cell::Cell;
use super::events::EventBus;
use super::gate::{Gate, GateReport};
use super::later::Waiting;
use super::load::Loading;
use super::memory::Memory;
use super::policies::Live;
use super::recent::Recent;
use super::stats::Counts;
use super::statuses::Statuses;
use super::version::Version;
use crate::error::{Error, ErrorKind, Result, err};
use crate::metrics::{Metrics, ModelMetrics, trace};
use crate::model::{
    Buffers, Ctx, Done, Explanations, Features, ImportanceKind, Insight, LoadOptions, Model,
    ModelInfo, Prediction, Receipt, Reply, Request, Signature, Target, Written,
};
use crate::process::{self, OwnLock};
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
    /// What [`ModelInfo::companions`] was.
    pub companions: Arc<str>,
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
    /// The process generation that the queues and counts of the versions' policies belong to.
    pub generation: u64,
    /// The same of the policies above the versions.
    pub top_generation: u64,
}

/// A named place for versions.
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) me: Weak<Slot>,
    pub(super) cell: Cell<State>,
    /// Versions that stay available, the serving one included.
    pub(super) keep: usize,
    /// Whether its versions come and go as the folder of a repository says.
    pub(super) from_repository: bool,
    /// Serialises loads of this name; predictions never touch it. See [`Slot::change`].
    pub(super) loading: OwnLock<Loading>,
    /// Submitted requests that cannot be passed on yet.
    pub(super) waiting: OwnLock<Waiting>,
    /// What a new version has to show where the reload does not say.
    pub(super) gate: ArcSwapOption<Gate>,
    /// What the last gate found.
    pub(super) gate_report: ArcSwapOption<GateReport>,
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
    /// A name without versions, of which `keep` stay.
    pub(super) fn new(name: &str, keep: usize, registry: &Arc<Registry>) -> Arc<Slot> {
        Slot::make(name, keep, false, registry)
    }

    /// A name whose versions come and go as a repository's folder says: none is trimmed.
    pub(super) fn of_repository(name: &str, registry: &Arc<Registry>) -> Arc<Slot> {
        Slot::make(name, usize::MAX, true, registry)
    }

    fn make(name: &str, keep: usize, from_repository: bool, registry: &Arc<Registry>) -> Arc<Slot> {
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
                top_generation: process::generation(),
            }),
            keep: keep.max(1),
            from_repository,
            loading: OwnLock::new(Loading::default()),
            waiting: OwnLock::new(Waiting::default()),
            gate: ArcSwapOption::empty(),
            gate_report: ArcSwapOption::empty(),
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

    /// Whether a request may be answered straight by the serving version, in this step.
    fn plain(state: &State) -> Option<&Version> {
        match (&state.serving, &state.live.top) {
            (Serving::Version(version), None) if state.is_settled() => Some(version),
            _ => None,
        }
    }

    /// Counts a request that no version was asked for.
    pub(super) fn refused(&self, e: Error) -> Error {
        self.model_metrics.refused(e.kind());
        e.with_model(&self.name)
    }

    /// The signature of the serving version, unless that has to be loaded first.
    pub(super) fn ready_signature(&self) -> Option<Arc<Signature>> {
        self.cell.with(|state| match &state.serving {
            Serving::Version(version) => Some(version.info().signature.clone()),
            Serving::Parked(_) | Serving::Nobody => None,
        })
    }

    /// Most bytes of a request that any version takes that can be asked.
    pub(super) fn max_request_bytes(&self) -> u64 {
        self.cell.with(|state| {
            let parked = match &state.serving {
                Serving::Parked(origin) => origin.options.request_limits.request_bytes,
                Serving::Version(_) | Serving::Nobody => 0,
            };
            state.versions.values().map(|v| v.core.max_request_bytes()).fold(parked, u64::max)
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
                let too_late = is_past(ctx);
                let asked = self.asked(ctx).map_err(|e| self.refused(e))?;
                let reply = asked.call(request, ctx);
                self.named(if too_late { self.note_late(reply) } else { reply })
            }
        }
    }

    /// A copy of the request, where it is to be recorded, and when it came.
    fn sample(&self, request: &Request<'_>) -> Option<(Sampled, Instant)> {
        let recorder = self.recorder.load();
        let sampled = recorder.as_ref()?.sample(&self.name, request)?;
        Some((sampled, Instant::now()))
    }

    /// Counts a request whose deadline had passed when it came, and that nobody answered.
    fn note_late(&self, reply: Result<Reply>) -> Result<Reply> {
        reply.map_err(|e| match e.kind() {
            ErrorKind::DeadlineExceeded => self.refused(e),
            _ => e,
        })
    }

    /// Submits a request to whoever answers it, the policies being this process's own.
    pub(super) fn submit_settled(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        self.recent.offer(|| request.clone());
        let sampled = self.sample(&request);
        let too_late = is_past(&ctx);
        let asked = match self.asked(&ctx) {
            Ok(asked) => asked,
            Err(e) => return done.call(Err(self.refused(e)), ctx),
        };
        let slot = self;
        let done = Done::new(move |result, ctx: Ctx| {
            slot.note_fallback(&ctx.receipt);
            let result = if too_late { slot.note_late(result) } else { result };
            let result = slot.named(result);
            if let Some((sampled, began)) = sampled {
                sampled.finish(ctx.receipt.version, &result, began.elapsed());
            }
            done.call(result, ctx);
        });
        asked.submit(request, ctx, done);
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

/// Whether nobody can answer a request in time any more.
fn is_past(ctx: &Ctx) -> bool {
    ctx.deadline.is_some_and(|deadline| Instant::now() >= deadline)
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

    /// Whether the queues and counts of the versions' policies are those of the parent of this
    /// forked process.
    pub(super) fn is_foreign(&self) -> bool {
        self.generation != process::generation()
    }

    /// Whether all policies are this process's own.
    pub(super) fn is_settled(&self) -> bool {
        // Those above the versions are made last.
        self.top_generation == process::generation()
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
        ctx.receipt = Receipt::default();
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

    fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        let straight = ctx.target == Target::Serving
            && ctx.deadline.is_none()
            && self.recorder.load().is_none();
        let plain = match straight {
            true => self.cell.with(|state| {
                let version = Slot::plain(state)?;
                ctx.receipt = Receipt::default();
                Some(version.call_into(request, out, ctx))
            }),
            false => None,
        };
        match plain {
            Some(written) => {
                if written.is_ok() {
                    self.recent.offer(|| request.clone());
                }
                written
            }
            None => self.call(request, ctx)?.write(out),
        }
    }

    fn insight(&self) -> Option<Arc<Insight>> {
        self.current().ok()?.insight()
    }

    // By one version, whatever is published meanwhile.
    fn explain(&self, rows: Features<'_>) -> Result<Explanations> {
        self.named(self.current()?.explain(rows))
    }

    fn apply(&self, rows: Features<'_>) -> Result<(usize, Vec<u32>)> {
        self.named(self.current()?.apply(rows))
    }

    fn importance(&self, kind: ImportanceKind) -> Result<Vec<f64>> {
        self.named(self.current()?.importance(kind))
    }

    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        ctx.receipt = Receipt::default();
        if !self.cell.with(State::is_settled) {
            // Making policies tries models: not on the caller's thread.
            return self.submit_later(None, request, ctx, done);
        }
        self.submit_settled(request, ctx, done);
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
