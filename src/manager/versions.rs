//! How the versions of a name come, serve and go. Each change is published in one step.

use super::load::{Activation, Loading};
use super::memory::MemoryUse;
use super::policies::{Live, Policies};
use super::slot::{KEPT_VERSIONS, MAX_LABELS, Serving, Slot, State};
use super::stats::Counts;
use super::version::Version;
use super::{EventKind, VersionState};
use crate::error::{Error, Result, err};
use crate::metrics::{LiveGauges, trace};
use crate::model::ModelInfo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Slot {
    /// Takes the name out of service; requests under way and leases keep their version.
    pub(super) fn retire(&self) {
        let change = self.change();
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
        // May wait for the disk: no load of this name has to wait with it.
        drop(change);
        self.stop_recording();
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
        let _loading = self.change();
        self.activate(version)
    }

    /// As [`Slot::serve`], within a load.
    pub(super) fn activate(&self, version: u64) -> Result<()> {
        let changed = self.cell.update(|state| {
            let Some(chosen) = state.versions.get(&version).cloned() else {
                return (None, Err(self.no_version(state, version)));
            };
            let mut next = state.clone();
            let previous = match &state.serving {
                Serving::Version(old) if old.number() == version => return (None, Ok(None)),
                Serving::Version(old) => Some(old.core.origin()),
                // It comes back after it made room: what served before it did so still.
                Serving::Parked(origin) if origin.version == version => None,
                Serving::Parked(origin) => Some((**origin).clone()),
                Serving::Nobody => None,
            };
            next.serving = Serving::Version(chosen);
            let number = previous.as_ref().map(|p| p.version);
            if let Some(previous) = previous {
                next.previous = Some(Arc::new(previous));
            }
            let dropped = next.trim(self.keep);
            (Some(next), Ok(Some((number, dropped))))
        })?;
        let Some((previous, dropped)) = changed else { return Ok(()) };
        self.events.send(&self.name, version, EventKind::Serving { previous });
        for version in &dropped {
            self.enter(version.number(), VersionState::Unloading, None);
        }
        Ok(())
    }

    /// Takes one version out of service that does not serve.
    pub(super) fn unload_version(&self, version: u64) -> Result<()> {
        let _loading = self.change();
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
        let mut loading = self.change();
        let previous = self.cell.with(|state| state.previous.clone());
        let Some(previous) = previous else {
            return self.named(Err(err!(NotReady, "no version served before the present one")));
        };
        let number = previous.version;
        if !self.cell.with(|state| state.versions.contains_key(&number)) {
            self.named(self.reload_origin(&mut loading, &previous))?;
        }
        self.named(self.activate(number))?;
        let info = self.cell.with(|state| Some(state.versions.get(&number)?.info().clone()));
        info.ok_or_else(|| self.gone())
    }

    /// Loads the version again that was unloaded to make room; callers that come meanwhile wait
    /// for the same load.
    pub(super) fn revive(&self) -> Result<Arc<Version>> {
        let mut loading = self.change();
        // Whoever asks may be remote: the message, which names files, is for `versions`.
        self.revive_locked(&mut loading).map_err(|e| {
            let kind = e.kind();
            Error::new(kind, format!("loading it again failed ({kind})")).with_model(&self.name)
        })?;
        self.cell.with(|state| match &state.serving {
            Serving::Version(version) => Ok(version.clone()),
            Serving::Parked(_) | Serving::Nobody => Err(self.gone()),
        })
    }

    /// As [`Slot::revive`], where the caller holds the lock; nothing where nothing was unloaded.
    pub(super) fn revive_locked(&self, loading: &mut Loading) -> Result<()> {
        let parked = self.cell.with(|state| match &state.serving {
            Serving::Parked(origin) => Some(origin.clone()),
            Serving::Version(_) | Serving::Nobody => None,
        });
        let Some(origin) = parked else { return Ok(()) };
        self.reload_origin(loading, &origin)?;
        self.activate(origin.version)
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
        let _loading = self.try_change()?;
        let parked = self.cell.update(|state| {
            let Serving::Version(version) = &state.serving else { return (None, None) };
            let origin = version.core.origin();
            if origin.path.is_none() || version.in_flight() > 0 || state.versions.len() > 1 {
                return (None, None);
            }
            let next = State {
                versions: BTreeMap::new(),
                serving: Serving::Parked(Arc::new(origin)),
                ..state.clone()
            };
            (Some(next), Some(version.clone()))
        });
        // Held until all is told: its end is the last that is.
        let version = parked?;
        self.events.send(&self.name, version.number(), EventKind::Evicted);
        self.enter(version.number(), VersionState::Unloading, None);
        Some(version.info().weight_bytes)
    }

    /// Sets the policies of this name; requests under way finish under the old ones.
    pub(super) fn set_policies(&self, policies: Policies) -> Result<()> {
        let mut loading = self.change();
        let recent = policies.recent_inputs;
        self.named(self.restack(&mut loading, Live::below(Arc::new(policies))))?;
        self.recent.set_capacity(recent);
        Ok(())
    }

    /// Puts a new version among those that can be asked. The caller holds the lock.
    pub(super) fn publish(&self, version: Version, activation: Activation) -> Result<()> {
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
                history.retain(|c| c.version() != number);
                history.push_back(counts);
            }
            if history.len() > KEPT_VERSIONS {
                history.pop_front();
            }
        }
        self.enter(number, VersionState::Available, None);
        match activation {
            Activation::Serve => self.activate(number),
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
        // Asked for each time: series that were about to go are kept again.
        let metrics = self.metrics.version(&self.name, version);
        let same = |c: &&Arc<Counts>| c.version() == version && Arc::ptr_eq(&c.metrics, &metrics);
        let known = self.history.lock().iter().find(same).cloned();
        known.unwrap_or_else(|| Arc::new(Counts::new(version, metrics)))
    }
}
