//! One name: its versions, labels and policies behind one pointer.
//!
//! A request reads the state once and is answered by what it finds there. Loading happens aside,
//! under a lock that requests never touch; what comes of it is published in one step.

use super::Registry;
use super::cell::Cell;
use super::events::{EventBus, EventKind, VersionState, VersionStatus};
use super::load::{Activation, Loading};
use super::memory::{Memory, MemoryUse};
use super::policies::{Live, Policies};
use super::recent::Recent;
use super::stats::{Counts, ModelStats, VersionStats};
use super::statuses::Statuses;
use super::version::Version;
use crate::error::{Error, Result, err};
use crate::executor;
use crate::metrics::{self, LiveGauges, Metrics, ModelMetrics};
use crate::model::{
    Ctx, Done, Features, LoadOptions, Model, ModelInfo, Prediction, Receipt, Reply, Request,
    Signature, Target,
};
use crate::policy::deadline::{Deadline, DeadlineOptions};
use crate::process;
use crate::tensor::Tensor;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Versions whose counts are kept after they went.
const KEPT_VERSIONS: usize = 64;
/// Labels of one model: they are set by people and programs of the operator.
const MAX_LABELS: usize = 256;

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
    history: Mutex<VecDeque<Arc<Counts>>>,
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
            history: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn gone(&self) -> Error {
        err!(NotFound, "was unloaded").with_model(&self.name)
    }

    fn no_version(&self, state: &State, version: u64) -> Error {
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

    fn no_label(&self, state: &State, label: &str) -> Error {
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

    pub(super) fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        let features = || Features::F32 { data: row, rows: 1, width: row.len() };
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

    fn note_fallback(&self, receipt: &Receipt) {
        if let Some(reason) = &receipt.fallback {
            self.model_metrics.fell_back(reason.kind);
        }
    }

    /// Every error of a request leaves with the model's name.
    fn named<R>(&self, result: Result<R>) -> Result<R> {
        result.map_err(|e| e.with_model(&self.name))
    }

    /// Takes the name out of service; requests under way and leases keep their version.
    pub(super) fn retire(&self) {
        let _loading = self.loading.lock();
        let versions = self.cell.update(|state| {
            let next = State {
                versions: BTreeMap::new(),
                serving: Serving::Nobody,
                labels: BTreeMap::new(),
                live: Live::default(),
                previous: None,
                ..state.clone()
            };
            (Some(next), state.versions.clone())
        });
        for number in versions.keys() {
            self.enter(*number, VersionState::Unloading, None);
        }
    }

    /// Moves or makes a label.
    pub(super) fn set_label(&self, label: &str, version: u64) -> Result<()> {
        super::check_name(label)?;
        let label: Arc<str> = label.into();
        self.cell.update(|state| {
            if !state.versions.contains_key(&version) {
                return (None, Err(self.no_version(state, version)));
            }
            if state.labels.len() >= MAX_LABELS && !state.labels.contains_key(&label) {
                return (None, Err(err!(LimitExceeded, "a model has at most {MAX_LABELS} labels")));
            }
            let mut next = state.clone();
            next.labels.insert(label.clone(), version);
            (Some(next), Ok(()))
        })?;
        self.events.send(&self.name, version, EventKind::Label { label });
        Ok(())
    }

    /// Removes a label; the version stays.
    pub(super) fn remove_label(&self, label: &str) -> Result<()> {
        self.cell.update(|state| {
            let mut next = state.clone();
            match next.labels.remove(label) {
                Some(_) => (Some(next), Ok(())),
                None => (None, Err(self.no_label(state, label))),
            }
        })
    }

    /// Lets an available version answer requests that name none.
    pub(super) fn serve(&self, version: u64) -> Result<()> {
        let loading = self.loading.lock();
        self.activate(version, loading.keep)
    }

    /// As [`Slot::serve`], within a load.
    pub(super) fn activate(&self, version: u64, keep: usize) -> Result<()> {
        let (previous, dropped) = self.cell.update(|state| {
            let Some(chosen) = state.versions.get(&version).cloned() else {
                return (None, Err(self.no_version(state, version)));
            };
            let mut next = state.clone();
            let previous = match &state.serving {
                Serving::Version(old) if old.number() == version => {
                    return (None, Ok((None, vec![])));
                }
                Serving::Version(old) => Some(old.core.origin()),
                Serving::Parked(origin) => Some((**origin).clone()),
                Serving::Nobody => None,
            };
            next.serving = Serving::Version(chosen);
            let number = previous.as_ref().map(|p| p.version);
            if let Some(previous) = previous {
                next.previous = Some(Arc::new(previous));
            }
            let dropped = next.trim(keep);
            (Some(next), Ok((number, dropped)))
        })?;
        self.events.send(&self.name, version, EventKind::Serving { previous });
        for version in &dropped {
            self.enter(version.number(), VersionState::Unloading, None);
        }
        Ok(())
    }

    /// Takes one version out of service that does not serve.
    pub(super) fn unload_version(&self, version: u64) -> Result<()> {
        let _loading = self.loading.lock();
        let dropped = self.cell.update(|state| {
            if let Serving::Version(serving) = &state.serving
                && serving.number() == version
            {
                let e = err!(
                    InvalidArgument,
                    "version {version} serves: let another serve first, or unload the model"
                );
                return (None, Err(e));
            }
            let mut next = state.clone();
            match next.versions.remove(&version) {
                Some(dropped) => {
                    next.labels.retain(|_, v| *v != version);
                    (Some(next), Ok(dropped))
                }
                None => (None, Err(self.no_version(state, version))),
            }
        });
        let dropped = self.named(dropped)?;
        self.enter(dropped.number(), VersionState::Unloading, None);
        Ok(())
    }

    /// Lets the version serve again that served before the present one.
    pub(super) fn rollback(&self) -> Result<ModelInfo> {
        let mut loading = self.loading.lock();
        let previous = self.cell.with(|state| state.previous.clone());
        let Some(previous) = previous else {
            return self.named(Err(err!(NotReady, "no version served before the present one")));
        };
        let number = previous.version;
        if !self.cell.with(|state| state.versions.contains_key(&number)) {
            self.named(self.reload_origin(&mut loading, &previous))?;
        }
        let keep = loading.keep;
        self.named(self.activate(number, keep))?;
        Ok(self.version(&Target::Version(number))?.info().clone())
    }

    /// Loads a parked version again; callers that come meanwhile wait for the same load.
    fn revive(&self, origin: &Arc<Origin>) -> Result<Arc<Version>> {
        let mut loading = self.loading.lock();
        let parked = self.cell.with(|state| match &state.serving {
            Serving::Parked(now) => Ok(Some(now.clone())),
            Serving::Version(_) => Ok(None),
            Serving::Nobody => Err(self.gone()),
        })?;
        if parked.is_some() {
            self.named(self.reload_origin(&mut loading, origin))?;
            let keep = loading.keep;
            self.activate(origin.version, keep)?;
        }
        self.cell.with(|state| match &state.serving {
            Serving::Version(version) => Ok(version.clone()),
            _ => Err(self.gone()),
        })
    }

    /// Bytes that the versions of this name hold.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.cell.with(|state| {
            state.versions.values().map(|v| v.info().weight_bytes).fold(0, u64::saturating_add)
        })
    }

    /// When any version of this name was last asked.
    pub(super) fn last_used(&self) -> Instant {
        let ns = self
            .cell
            .with(|state| state.versions.values().map(|v| v.core.last_used()).max().unwrap_or(0));
        self.started.checked_add(Duration::from_nanos(ns)).unwrap_or(self.started)
    }

    /// What each version that can be asked holds.
    pub(super) fn memory_use(&self) -> Vec<MemoryUse> {
        self.cell.with(|state| {
            let of = |v: &Arc<Version>| {
                let m = v.core.model.memory();
                MemoryUse {
                    model: self.name.to_string(),
                    version: v.number(),
                    weights: m.weights,
                    packed: m.packed,
                    scratch: m.scratch,
                }
            };
            state.versions.values().map(of).collect()
        })
    }

    /// Unloads the serving version until it is asked for, where it is idle and can be loaded
    /// again. Answers the bytes it held.
    pub(super) fn park(&self) -> Option<u64> {
        let _loading = self.loading.try_lock()?;
        let parked = self.cell.update(|state| {
            let Serving::Version(version) = &state.serving else { return (None, None) };
            let origin = version.core.origin();
            if origin.path.is_none() || version.in_flight() > 0 || state.versions.len() > 1 {
                return (None, None);
            }
            let bytes = version.info().weight_bytes;
            let next = State {
                versions: BTreeMap::new(),
                serving: Serving::Parked(Arc::new(origin)),
                ..state.clone()
            };
            (Some(next), Some((version.number(), bytes)))
        });
        let (number, bytes) = parked?;
        self.events.send(&self.name, number, EventKind::Evicted);
        self.enter(number, VersionState::Unloading, None);
        Some(bytes)
    }

    /// Sets the policies of this name; requests under way finish under the old ones.
    pub(super) fn set_policies(&self, policies: Policies) -> Result<()> {
        let _loading = self.loading.lock();
        let recent = policies.recent_inputs;
        self.named(self.restack(Arc::new(policies)))?;
        self.recent.set_capacity(recent);
        Ok(())
    }

    /// Makes the policies of every version, and those above them, anew. The caller holds
    /// `loading`, so that no version comes or goes meanwhile.
    fn restack(&self, policies: Arc<Policies>) -> Result<()> {
        let live = Live::new(policies, self)?;
        let versions = self.cell.with(|state| state.versions.clone());
        let mut stacked = BTreeMap::new();
        for (number, version) in versions {
            let parts = live.around(&version.core, self)?;
            stacked.insert(number, Arc::new(version.with_parts(parts)));
        }
        self.cell.update(|state| {
            let serving = match &state.serving {
                Serving::Version(v) => match stacked.get(&v.number()) {
                    Some(version) => Serving::Version(version.clone()),
                    None => Serving::Version(v.clone()),
                },
                other => other.clone(),
            };
            let next = State {
                versions: stacked,
                serving,
                live,
                generation: process::generation(),
                ..state.clone()
            };
            (Some(next), ())
        });
        Ok(())
    }

    /// Puts a new version among those that can be asked. The caller holds `loading`.
    pub(super) fn publish(
        &self,
        version: Version,
        activation: Activation,
        keep: usize,
    ) -> Result<()> {
        let number = version.number();
        let counts = version.core.counts.clone();
        counts.metrics.loaded(version.info().weight_bytes, version.info().load_duration);
        self.observe(number, &counts);
        let live = self.cell.with(|state| state.live.clone());
        let version = version.with_parts(live.around(&version.core, self)?);
        self.cell.update(|state| {
            let mut next = state.clone();
            next.versions.insert(number, Arc::new(version));
            (Some(next), ())
        });
        {
            let mut history = self.history.lock();
            if !history.iter().any(|c| Arc::ptr_eq(c, &counts)) {
                history.push_back(counts);
            }
            if history.len() > KEPT_VERSIONS {
                history.pop_front();
            }
        }
        self.enter(number, VersionState::Available, None);
        match activation {
            Activation::Serve => self.activate(number, keep),
            Activation::Beside => Ok(()),
        }
    }

    /// Lets a scrape see what only the policies of a version know.
    fn observe(&self, number: u64, counts: &Counts) {
        let me = self.me.clone();
        counts.metrics.observe(move || {
            let slot = me.upgrade()?;
            slot.cell.with(|state| {
                let version = state.versions.get(&number)?;
                let serves = matches!(&state.serving, Serving::Version(v) if v.number() == number);
                let store = state.live.store.as_ref().filter(|_| serves);
                let mut gauges = LiveGauges::default();
                gauges.queue_depth = version.parts.load.queued() as u64;
                gauges.cache_bytes = store.map_or(0, |store| store.stats().bytes);
                Some(gauges)
            })
        });
    }

    /// The counts of a version that was here before, so that they go on.
    pub(super) fn counts_of(&self, version: u64) -> Arc<Counts> {
        let history = self.history.lock();
        let known = history.iter().find(|c| c.version() == version).cloned();
        known.unwrap_or_else(|| {
            let metrics = self.metrics.version(&self.name, version);
            Arc::new(Counts::new(version, metrics))
        })
    }

    /// Notes a version's new state and tells the listeners.
    pub(super) fn enter(&self, version: u64, state: VersionState, error: Option<&Error>) {
        self.statuses.lock().enter(version, state, error);
        self.count_state(version, state);
        let (error, message) = match error {
            Some(e) => (Some(e.kind()), e.message().to_string()),
            None => (None, String::new()),
        };
        self.events.send(&self.name, version, EventKind::State { state, error, message });
    }

    fn count_state(&self, version: u64, state: VersionState) {
        // A version that never came to life has no series.
        let known = self.history.lock().iter().find(|c| c.version() == version).cloned();
        let Some(counts) = known else { return };
        counts.metrics.set_state(match state {
            VersionState::Start => metrics::VersionState::Start,
            VersionState::Loading => metrics::VersionState::Loading,
            VersionState::Available => metrics::VersionState::Available,
            VersionState::Unloading => metrics::VersionState::Unloading,
            VersionState::End => metrics::VersionState::End,
        });
        if state == VersionState::End {
            counts.metrics.set_bytes(0);
            self.metrics.remove_version(&self.name, version);
        }
    }

    /// The last lease on a version ended (called when its core is dropped, on any thread).
    pub(super) fn ended(&self, version: u64) {
        self.enter(version, VersionState::End, None);
    }

    pub(super) fn versions(&self) -> Vec<VersionStatus> {
        let state = self.cell.full();
        let mut all = self.statuses.lock().all();
        for status in &mut all {
            status.serving =
                matches!(&state.serving, Serving::Version(v) if v.number() == status.version);
            status.labels = state
                .labels
                .iter()
                .filter(|(_, v)| **v == status.version)
                .map(|(label, _)| label.clone())
                .collect();
        }
        all
    }

    /// The policies at work.
    pub(super) fn live(&self) -> Live {
        self.cell.with(|state| state.live.clone())
    }

    pub(super) fn versions_available(&self) -> usize {
        self.cell.with(|state| state.versions.len())
    }

    pub(super) fn labels(&self) -> BTreeMap<Arc<str>, u64> {
        self.cell.with(|state| state.labels.clone())
    }

    pub(super) fn stats(&self) -> ModelStats {
        let serving = self.cell.with(|state| match &state.serving {
            Serving::Version(v) => Some(v.number()),
            _ => None,
        });
        let versions: Vec<VersionStats> =
            self.history.lock().iter().map(|c| c.snapshot(serving == Some(c.version()))).collect();
        ModelStats { name: self.name.to_string(), versions }
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
    fn trim(&mut self, keep: usize) -> Vec<Arc<Version>> {
        let serving = match &self.serving {
            Serving::Version(v) => Some(v.number()),
            _ => None,
        };
        let held = |number: u64| {
            Some(number) == serving
                || self.labels.values().any(|v| *v == number)
                || self.live.policies.names_version(number)
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
        let plain = match (&ctx.target, ctx.deadline) {
            (Target::Serving, None) => {
                self.cell.with(|state| Slot::plain(state).map(|v| v.call(request, ctx)))
            }
            _ => None,
        };
        let reply = match plain {
            Some(reply) => reply,
            None => {
                let asked = self.asked(ctx)?;
                self.named(asked.call(request, ctx))
            }
        };
        if reply.is_ok() {
            self.note_fallback(&ctx.receipt);
            self.recent.offer(|| request.clone());
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
        match self.asked(&ctx) {
            Ok(asked) => {
                let slot = self;
                let done = Done::new(move |result, ctx: Ctx| {
                    slot.note_fallback(&ctx.receipt);
                    done.call(slot.named(result), ctx);
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
