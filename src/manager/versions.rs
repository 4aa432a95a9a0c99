//! How the versions of a name come, serve and go. Each change is published in one step.

use super::load::Activation;
use super::memory::MemoryUse;
use super::policies::{Live, Policies};
use super::slot::{KEPT_VERSIONS, MAX_LABELS, Origin, Serving, Slot, State};
use super::stats::Counts;
use super::version::Version;
use super::{EventKind, VersionState};
use crate::error::{Result, err};
use crate::metrics::{LiveGauges, trace};
use crate::model::{ModelInfo, Target};
use crate::process;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Slot {
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
        self.label_moved(&label);
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
    pub(super) fn revive(&self, origin: &Arc<Origin>) -> Result<Arc<Version>> {
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
    pub(super) fn restack(&self, policies: Arc<Policies>) -> Result<()> {
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
        let (bytes, took) = (version.info().weight_bytes, version.info().load_duration);
        counts.metrics.loaded(bytes, took);
        trace::loaded(&self.name, number, bytes, took);
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
                Some(LiveGauges {
                    queue_depth: version.parts.load.queued() as u64,
                    cache_bytes: store.map_or(0, |store| store.stats().bytes),
                })
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
}
