//! The lock of a slot, and what a forked child makes anew: the policies, whose queues and counts
//! are its parent's.
//!
//! In two steps. The versions' policies need nobody else and are made by whoever takes the lock.
//! Those above them look at other models, whose versions' policies are made then: models that name
//! each other so wait for each other in no circle.

use super::load::Loading;
use super::policies::{Live, Parts, References};
use super::slot::{Serving, Slot, State};
use super::version::Version;
use crate::error::{Error, Result};
use crate::process;
use crate::sync::MutexGuard;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Slot {
    /// The lock under which versions and policies change. Whoever holds it finds the policies of
    /// the versions to be this process's own.
    pub(super) fn change(&self) -> MutexGuard<'_, Loading> {
        let loading = self.loading.lock(|| self.loading_anew());
        if self.cell.with(State::is_foreign) {
            self.settle_versions();
        }
        loading
    }

    /// As [`Slot::change`], where that need not wait.
    pub(super) fn try_change(&self) -> Option<MutexGuard<'_, Loading>> {
        let loading = self.loading.try_lock(|| self.loading_anew())?;
        (!self.cell.with(State::is_foreign)).then_some(loading)
    }

    /// What a child knows of the loads before it.
    fn loading_anew(&self) -> Loading {
        let state = self.cell.full();
        let mut last = state.versions.keys().next_back().copied();
        last = last.max(state.previous.as_ref().map(|origin| origin.version));
        let options = match &state.serving {
            Serving::Version(version) => Some(version.core.origin().options),
            Serving::Parked(origin) => {
                last = last.max(Some(origin.version));
                Some(origin.options.clone())
            }
            Serving::Nobody => None,
        };
        // Held by a thread of the parent, perhaps: what was loaded beside and went is not missed.
        if let Some(history) = self.history.try_lock() {
            last = last.max(history.iter().map(|counts| counts.version()).max());
        }
        Loading { options: options.unwrap_or_default(), last_version: last.unwrap_or(0) }
    }

    /// Makes all policies anew, where they are those of a parent. Where that takes long, other
    /// threads wait for the one that does it.
    pub(super) fn settle(&self) {
        if self.cell.with(State::is_settled) {
            return;
        }
        let mut loading = self.change();
        if self.cell.with(State::is_settled) {
            return;
        }
        let live = self.cell.with(|state| state.live.clone());
        let made = match live.policies.need_serving() {
            true => self.revive_locked(&mut loading),
            false => Ok(()),
        };
        let made = made.and_then(|()| live.clone().with_top(self, References::Known));
        let live = made.unwrap_or_else(|e| {
            self.warn_unsettled(&e);
            Live { router: None, promoter: None, ..live }
        });
        self.cell.update(|state| {
            let top_generation = process::generation();
            (Some(State { live, top_generation, ..state.clone() }), ())
        });
        drop(loading);
        // A lock that a thread of the parent held at the fork is never released here.
        if let Some(registry) = self.registry.upgrade()
            && let Some(mut repository) = registry.repository.try_lock()
            && let Some(served) = &mut *repository
        {
            served.watch_as_child();
        }
    }

    /// Makes the policies of the versions anew; a version whose policies cannot be made goes on
    /// without. The caller holds the lock.
    fn settle_versions(&self) {
        let parents = self.cell.with(|state| state.live.clone());
        // What a route has decided is copied when the policies above are made.
        let (router, promoter) = (parents.router, parents.promoter);
        let live = Live { router, promoter, ..Live::below(parents.policies) };
        let versions = self.cell.with(|state| state.versions.clone());
        let own = |version: &Arc<Version>| {
            live.around(&version.core, self).unwrap_or_else(|e| {
                self.warn_unsettled(&e);
                Parts::default()
            })
        };
        let stacked = versions.iter().map(|(n, v)| (*n, Arc::new(v.with_parts(own(v))))).collect();
        self.publish_stacked(stacked, live, None);
    }

    /// Makes these policies the name's. The caller holds the lock.
    pub(super) fn restack(&self, loading: &mut Loading, live: Live) -> Result<()> {
        if live.policies.need_serving() {
            self.revive_locked(loading)?;
        }
        let live = live.with_top(self, References::Checked)?;
        let mut stacked = BTreeMap::new();
        for (number, version) in self.cell.with(|state| state.versions.clone()) {
            let parts = live.around(&version.core, self)?;
            stacked.insert(number, Arc::new(version.with_parts(parts)));
        }
        self.publish_stacked(stacked, live, Some(process::generation()));
        Ok(())
    }

    /// Publishes the present versions behind new policies. `top` is the generation of those above
    /// the versions, where they are new.
    fn publish_stacked(&self, versions: BTreeMap<u64, Arc<Version>>, live: Live, top: Option<u64>) {
        self.cell.update(|state| {
            let serving = match &state.serving {
                Serving::Version(v) => {
                    Serving::Version(versions.get(&v.number()).unwrap_or(v).clone())
                }
                other => other.clone(),
            };
            let next = State {
                versions,
                serving,
                live,
                generation: process::generation(),
                top_generation: top.unwrap_or(state.top_generation),
                ..state.clone()
            };
            (Some(next), ())
        });
    }

    /// The version behind policies of this process: a handle may have been pinned to it before a
    /// fork. One that is gone meanwhile has none.
    pub(super) fn own(&self, version: &Arc<Version>) -> Arc<Version> {
        if self.cell.with(State::is_foreign) {
            drop(self.change());
        }
        let there = self.cell.with(|state| state.versions.get(&version.number()).cloned());
        match there {
            Some(own) if Arc::ptr_eq(&own.core, &version.core) => own,
            _ => Arc::new(version.with_parts(Parts::default())),
        }
    }

    fn warn_unsettled(&self, e: &Error) {
        tracing::warn!(target: "modelserve::lifecycle", model = &*self.name,
            "policies cannot be made anew after a fork, and are off: {e}");
    }
}
