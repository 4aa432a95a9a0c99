//! What an operator does with versions, labels and policies, and what they tell of themselves.

use super::policies::Policies;
use super::snapshot::Snapshot;
use super::{Event, Events, MemoryUse, ModelHandle, ModelManager, VersionStatus};
use crate::error::{Result, err};
use crate::model::{ModelInfo, Target};
use crate::policy::batch::Invariance;
use crate::policy::breaker::BreakerSnapshot;
use crate::policy::cache::CacheStats;
use crate::policy::route::{AbReport, PromotionReport, ShadowReport};
use crate::record::{self, ReplayOptions, ReplayReport};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

impl ModelManager {
    /// Lets an available version answer the requests that name none, at once.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or version; the error it ended with for a version that
    /// could not be loaded.
    pub fn serve(&self, name: &str, version: u64) -> Result<()> {
        self.slot(name)?.serve(version)
    }

    /// Lets the version serve again that served before the present one. At once where it is
    /// still available ([`crate::ManagerOptions::keep_versions`]); else its file is loaded again, if it
    /// is still the same.
    ///
    /// # Errors
    /// `NotFound` for an unknown name; `NotReady` when no version served before, or it cannot be
    /// loaded again.
    pub fn rollback(&self, name: &str) -> Result<ModelInfo> {
        self.slot(name)?.rollback()
    }

    /// Takes one version that does not serve out of service.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or version; `InvalidArgument` for the serving one.
    pub fn unload_version(&self, name: &str, version: u64) -> Result<()> {
        self.slot(name)?.unload_version(version)
    }

    /// The versions of a model and where each is in its life, oldest first: failed ones with
    /// their error.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn versions(&self, name: &str) -> Result<Vec<VersionStatus>> {
        Ok(self.slot(name)?.versions())
    }

    /// Points a label (a word like `stable` or `canary`) to an available version, at once.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or a version that is not available; `InvalidArgument` for
    /// a label that is no word of the form of model names.
    pub fn set_label(&self, name: &str, label: &str, version: u64) -> Result<()> {
        self.slot(name)?.set_label(label, version)
    }

    /// Removes a label; the version that it points to stays.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or label.
    pub fn remove_label(&self, name: &str, label: &str) -> Result<()> {
        self.slot(name)?.remove_label(label)
    }

    /// The labels of a model and the versions they point to.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn labels(&self, name: &str) -> Result<BTreeMap<Arc<str>, u64>> {
        Ok(self.slot(name)?.labels())
    }

    /// A handle that keeps answering with the version that `target` means now, without the
    /// policies above it.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, version or label; the error it ended with for a version
    /// that could not be loaded.
    pub fn lease(&self, name: &str, target: &Target) -> Result<ModelHandle> {
        let slot = self.slot(name)?;
        let version = slot.version(target)?;
        Ok(ModelHandle::pinned(slot, version))
    }

    /// Whether `target` can be asked, without loading anything: not while it is being loaded, nor
    /// when that failed.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, version or label.
    pub fn can_answer(&self, name: &str, target: &Target) -> Result<bool> {
        self.slot(name)?.can_answer(target)
    }

    /// One consistent set of versions over several models, held as long as the snapshot.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn pin(&self, names: &[&str]) -> Result<Snapshot> {
        let slots = names.iter().map(|name| self.slot(name)).collect::<Result<Vec<_>>>()?;
        Snapshot::take(&slots)
    }

    /// Sets the policies of a model: batching, cache, canary and the others. Requests under way
    /// finish under the old ones.
    ///
    /// # Errors
    /// `NotFound` for an unknown name; `InvalidArgument` for policies that contradict
    /// themselves or the model. Nothing is changed then.
    pub fn set_policies(&self, name: &str, policies: Policies) -> Result<()> {
        self.slot(name)?.set_policies(policies)
    }

    /// What each arm of a model's canary did, to read or to print; `None` without a canary.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn traffic(&self, name: &str) -> Result<Option<AbReport>> {
        Ok(self.slot(name)?.live().router.map(|router| router.report()))
    }

    /// Where a canary's promotion stands, with every decision and its figures; `None` without
    /// one.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn promotion(&self, name: &str) -> Result<Option<PromotionReport>> {
        Ok(self.slot(name)?.live().router.and_then(|router| router.promotion()))
    }

    /// Sets a canary's share of the requests, in percent. A promotion ends with it.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or a model without a canary; `InvalidArgument` for a share
    /// outside 0 to 100.
    pub fn set_canary_percent(&self, name: &str, percent: f64) -> Result<()> {
        let live = self.slot(name)?.live();
        match (&live.router, &live.policies.canary) {
            (Some(router), Some(canary)) => router.set_weight(&canary.to.to_string(), percent),
            _ => Err(err!(NotFound, "has no canary: set one with set_policies").with_model(name)),
        }
    }

    /// What a model's shadow found so far; `None` without a shadow.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn shadow(&self, name: &str) -> Result<Option<ShadowReport>> {
        Ok(self.slot(name)?.live().shadow.map(|shadow| shadow.report()))
    }

    /// What a model's response cache did so far; `None` without a cache.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn cache(&self, name: &str) -> Result<Option<CacheStats>> {
        Ok(self.slot(name)?.live().store.map(|store| store.stats()))
    }

    /// Where the circuit breaker of a version stands; `None` without one.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or version.
    pub fn circuit(&self, name: &str, target: &Target) -> Result<Option<BreakerSnapshot>> {
        let version = self.slot(name)?.version(target)?;
        Ok(version.parts.breaker.as_ref().map(|breaker| breaker.snapshot()))
    }

    /// Whether requests of a version are batched, and what the probe at its load found; `None`
    /// without batching.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or version.
    pub fn batching(&self, name: &str, target: &Target) -> Result<Option<Invariance>> {
        let version = self.slot(name)?.version(target)?;
        Ok(version.parts.batch.as_ref().map(|batch| batch.invariance().clone()))
    }

    /// Puts the requests of a recording to a version of a model and compares the answers with the
    /// recorded ones: disagreement and speed.
    ///
    /// # Errors
    /// `NotFound` for an unknown name or version; else as [`record::replay`].
    pub fn replay(
        &self,
        name: &str,
        target: &Target,
        path: impl AsRef<Path>,
        options: &ReplayOptions,
    ) -> Result<ReplayReport> {
        let version = self.slot(name)?.version(target)?;
        // The bare model: a replay neither fills caches nor counts as traffic.
        record::replay(path.as_ref(), &*version.core.model, options)
    }

    /// What happens to models from now on: states, swaps, labels, decisions.
    pub fn events(&self) -> Events {
        self.registry.events.listen()
    }

    /// Calls `callback` with each event from now on, on a thread of its own, until the manager is
    /// gone.
    ///
    /// # Errors
    /// `NotReady` when no thread can be started.
    pub fn on_event(&self, callback: impl Fn(&Event) + Send + 'static) -> Result<()> {
        let events = self.events();
        let listen = move || {
            for event in events {
                let told = crate::model::contain(|| {
                    callback(&event);
                    Ok(())
                });
                if let Err(e) = told {
                    tracing::warn!(target: "modelserve::lifecycle", "an event callback: {e}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("modelserve-events".to_string());
        match thread.spawn(listen) {
            Ok(_) => Ok(()),
            Err(e) => Err(err!(NotReady, "no thread for events: {e}")),
        }
    }

    /// Events that a listener was too slow for, since the manager was made.
    pub fn events_dropped(&self) -> u64 {
        self.registry.events.dropped()
    }

    /// What each available version holds in memory, by model and version.
    pub fn memory(&self) -> Vec<MemoryUse> {
        let slots = self.registry.slots.load();
        let mut all: Vec<MemoryUse> = slots.values().flat_map(|s| s.memory_use()).collect();
        all.sort_by(|a, b| (&a.model, a.version).cmp(&(&b.model, b.version)));
        all
    }
}
