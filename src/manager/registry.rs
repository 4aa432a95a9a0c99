//! The names of a manager's models: read without a lock, copied on load and unload.

use super::ManagerOptions;
use super::events::EventBus;
use super::memory::Memory;
use super::repository::Served;
use super::slot::Slot;
use crate::config::HttpConfig;
use crate::error::{Error, Result, ensure, err};
use crate::limits::MAX_MODELS;
use crate::metrics::Metrics;
use crate::process::OwnLock;
use crate::sync::{MutexGuard, OnceLock};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

pub(super) type Slots = HashMap<String, Arc<Slot>>;

/// All models of a manager, and what they share.
pub(super) struct Registry {
    pub(super) options: ManagerOptions,
    /// Copied on load and unload, read without a lock.
    pub(super) slots: ArcSwap<Slots>,
    /// Serialises load and unload, never held while a file is read. The names of models that are
    /// being loaded.
    changes: OwnLock<HashSet<String>>,
    pub(super) events: Arc<EventBus>,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) repository: Mutex<Option<Served>>,
    /// What the configuration file said of HTTP.
    pub(super) http: OnceLock<HttpConfig>,
    pub(super) started: Instant,
}

impl Registry {
    pub(super) fn new(options: ManagerOptions) -> Registry {
        let memory = Memory::new(options.memory_budget, options.memory_policy);
        let metrics = Metrics::new(options.metrics.clone());
        Registry {
            options,
            slots: ArcSwap::default(),
            changes: OwnLock::new(HashSet::new()),
            events: Arc::default(),
            memory: Arc::new(memory),
            metrics: Arc::new(metrics),
            repository: Mutex::default(),
            http: OnceLock::new(),
            started: Instant::now(),
        }
    }

    fn changes(&self) -> MutexGuard<'_, HashSet<String>> {
        self.changes.lock(HashSet::new)
    }

    /// Takes a name for a model that is to be loaded: nobody else loads under it meanwhile, and
    /// its metrics are nobody else's.
    pub(super) fn reserve<'a>(&'a self, name: &'a str) -> Result<Name<'a>> {
        let mut names = self.changes();
        check_free(name, &self.slots.load())?;
        if !names.insert(name.to_string()) {
            return Err(err!(AlreadyExists, "is being loaded already").with_model(name));
        }
        Ok(Name { registry: self, name })
    }

    /// Puts a slot that serves under its name.
    pub(super) fn insert(&self, slot: Arc<Slot>) -> Result<()> {
        let _guard = self.changes();
        let slots = self.slots.load();
        check_free(slot.name(), &slots)?;
        ensure!(
            slots.len() < MAX_MODELS,
            LimitExceeded,
            "a manager holds at most {MAX_MODELS} models"
        );
        let mut next: Slots = (**slots).clone();
        next.insert(slot.name().to_string(), slot.clone());
        self.slots.store(Arc::new(next));
        self.memory.join(&slot);
        Ok(())
    }

    /// Takes a name out of service.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let guard = self.changes();
        let mut next: Slots = (**self.slots.load()).clone();
        let slot = next.remove(name).ok_or_else(|| not_found(name))?;
        // Before the name is free: what comes after are the series of another model.
        self.metrics.remove_model(name);
        self.slots.store(Arc::new(next));
        drop(guard);
        // Waits for a reload of this name that is under way, and for that one only.
        slot.retire();
        // That reload may have made series again.
        let names = self.changes();
        if !names.contains(name) && !self.slots.load().contains_key(name) {
            self.metrics.remove_model(name);
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.slots.load().keys().cloned().collect();
        names.sort_unstable();
        names
    }
}

/// A name that is taken while a model is loaded under it.
pub(super) struct Name<'a> {
    registry: &'a Registry,
    name: &'a str,
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        self.registry.changes().remove(self.name);
    }
}

/// The error of a name that no model has. It names no other: whoever asks may know of none.
pub(super) fn not_found(name: &str) -> Error {
    err!(NotFound, "no such model is loaded").with_model(name)
}

/// Refuses a name that is taken.
pub(super) fn check_free(name: &str, slots: &Slots) -> Result<()> {
    if slots.contains_key(name) {
        let e = err!(AlreadyExists, "is loaded already: use reload, or unload it first");
        return Err(e.with_model(name));
    }
    Ok(())
}
