//! The manager: models by name, each behind one atomic pointer.
//!
//! A prediction takes a lease on the version that serves at that moment and finishes on it; a
//! reload builds and probes the next version fully aside and then swaps the pointer. No lock is
//! held while a model runs, and readers never wait for a reload.

mod handle;
mod metrics;
mod slot;
mod stats;

pub use handle::ModelHandle;
pub use stats::{ModelStats, VersionStats};

use crate::error::{Result, ensure, err};
use crate::limits::MAX_MODELS;
use crate::model::{
    Features, GraphModel, LoadOptions, ModelInfo, Prediction, Predictions, load, load_bytes,
};
use crate::tensor::Value;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use slot::Slot;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a manager is set up.
#[derive(Debug, Clone, Default)]
pub struct ManagerOptions {
    /// Worker threads of models that do not ask for a number of their own; 0 means the process's
    /// CPU quota.
    pub threads: usize,
}

/// How to reload.
#[derive(Debug, Clone, Default)]
pub struct ReloadOptions {
    /// How to load the new file; `None` loads it as the present one was loaded.
    pub load: Option<LoadOptions>,
    /// Accept a new version with other inputs, outputs, task or classes.
    pub allow_signature_change: bool,
}

type Slots = HashMap<String, Arc<Slot>>;

struct Registry {
    options: ManagerOptions,
    /// Copied on load and unload, read without a lock.
    slots: ArcSwap<Slots>,
    /// Serialises load and unload, never held while a file is read.
    changes: Mutex<()>,
    started: Instant,
}

/// Models by name. Cheap to clone (clones share the models); every method may be called from any
/// number of threads at once.
#[derive(Clone)]
pub struct ModelManager {
    registry: Arc<Registry>,
}

impl Default for ModelManager {
    fn default() -> Self {
        ModelManager::new(ManagerOptions::default())
    }
}

impl ModelManager {
    /// A manager without models.
    pub fn new(options: ManagerOptions) -> Self {
        ModelManager {
            registry: Arc::new(Registry {
                options,
                slots: ArcSwap::default(),
                changes: Mutex::new(()),
                started: Instant::now(),
            }),
        }
    }

    fn with_defaults(&self, options: &LoadOptions) -> LoadOptions {
        let mut options = options.clone();
        if options.threads == 0 {
            options.threads = self.registry.options.threads;
        }
        options
    }

    fn insert(&self, name: &str, model: GraphModel, options: LoadOptions) -> Result<ModelHandle> {
        let _guard = self.registry.changes.lock();
        let slots = self.registry.slots.load();
        self.check_free(name, &slots)?;
        ensure!(
            slots.len() < MAX_MODELS,
            LimitExceeded,
            "a manager holds at most {MAX_MODELS} models"
        );
        let slot = Arc::new(Slot::new(name, model, options));
        let mut next: Slots = (**slots).clone();
        next.insert(name.to_string(), slot.clone());
        self.registry.slots.store(Arc::new(next));
        Ok(ModelHandle::following(slot))
    }

    fn check_free(&self, name: &str, slots: &Slots) -> Result<()> {
        if slots.contains_key(name) {
            let e = err!(AlreadyExists, "is loaded already: use reload, or unload it first");
            return Err(e.with_model(name));
        }
        Ok(())
    }

    /// Loads a model file under a name of `[A-Za-z0-9._-]`, 1 to 128 characters, not starting
    /// with a dot.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `InvalidArgument` for a name of another form;
    /// else as [`crate::load`]. Nothing is changed then.
    pub fn load(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<ModelHandle> {
        check_name(name)?;
        self.check_free(name, &self.registry.slots.load())?;
        let options = self.with_defaults(options);
        let model = load(path, &options).map_err(|e| e.with_model(name))?;
        self.insert(name, model, options)
    }

    /// As [`ModelManager::load`], from bytes.
    ///
    /// # Errors
    /// As [`ModelManager::load`].
    pub fn load_bytes(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
        options: &LoadOptions,
    ) -> Result<ModelHandle> {
        check_name(name)?;
        self.check_free(name, &self.registry.slots.load())?;
        let options = self.with_defaults(options);
        let model = load_bytes(bytes, &options).map_err(|e| e.with_model(name))?;
        self.insert(name, model, options)
    }

    /// Loads the next version of a model from `path` (the present version's path when `None`),
    /// then swaps it in atomically. Requests under way finish on the old version.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, `InvalidModel` for a changed signature that is not allowed
    /// or a version number that does not rise; else as [`crate::load`]. The serving version is
    /// untouched then, and [`VersionStats`] keep the error.
    pub fn reload(
        &self,
        name: &str,
        path: Option<&Path>,
        options: &ReloadOptions,
    ) -> Result<ModelInfo> {
        self.slot(name)?.reload(options, |load_options, serving| {
            let path = match (path, serving) {
                (Some(path), _) => path,
                (None, Some(path)) => path,
                (None, None) => {
                    return Err(err!(
                        InvalidArgument,
                        "the serving version was loaded from bytes: name the file to reload from"
                    ));
                }
            };
            load(path, load_options)
        })
    }

    /// As [`ModelManager::reload`], from bytes.
    ///
    /// # Errors
    /// As [`ModelManager::reload`].
    pub fn reload_bytes(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
        options: &ReloadOptions,
    ) -> Result<ModelInfo> {
        let bytes = bytes.into();
        self.slot(name)?.reload(options, |load_options, _| load_bytes(bytes, load_options))
    }

    /// Takes a model out of service. Requests under way and pinned handles keep their version
    /// until they are done with it.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn unload(&self, name: &str) -> Result<()> {
        let guard = self.registry.changes.lock();
        let mut next: Slots = (**self.registry.slots.load()).clone();
        let slot = next.remove(name).ok_or_else(|| self.not_found(name))?;
        self.registry.slots.store(Arc::new(next));
        drop(guard);
        // Waits for a reload of this name that is under way, and for that one only.
        slot.retire();
        Ok(())
    }

    fn not_found(&self, name: &str) -> crate::Error {
        let loaded = self.models();
        let list = if loaded.is_empty() { "none".to_string() } else { loaded.join(", ") };
        err!(NotFound, "no such model is loaded (loaded: {list})").with_model(name)
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>> {
        self.registry.slots.load().get(name).cloned().ok_or_else(|| self.not_found(name))
    }

    /// A handle bound to the name: it always answers with the version serving now.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn model(&self, name: &str) -> Result<ModelHandle> {
        Ok(ModelHandle::following(self.slot(name)?))
    }

    /// The names of all models, sorted.
    pub fn models(&self) -> Vec<String> {
        let mut names: Vec<String> = self.registry.slots.load().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// What is known of the serving version.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn info(&self, name: &str) -> Result<ModelInfo> {
        self.model(name)?.info()
    }

    /// Counts and latencies by version.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn stats(&self, name: &str) -> Result<ModelStats> {
        Ok(self.slot(name)?.stats())
    }

    /// Predicts one row of `f32` features: see [`crate::Model::predict_row`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn predict_row(&self, name: &str, row: &[f32]) -> Result<Prediction> {
        match self.registry.slots.load().get(name) {
            Some(slot) => slot.predict_row(row),
            None => Err(self.not_found(name)),
        }
    }

    /// Predicts one row: see [`crate::Model::predict`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn predict(&self, name: &str, row: Features<'_>) -> Result<Prediction> {
        self.slot(name)?.predict(row)
    }

    /// Predicts a batch: see [`crate::Model::predict_batch`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn predict_batch(&self, name: &str, rows: Features<'_>) -> Result<Predictions> {
        self.slot(name)?.predict_batch(rows)
    }

    /// Runs named inputs to named outputs: see [`crate::Model::run`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn run(
        &self,
        name: &str,
        inputs: Vec<(String, Value)>,
        outputs: &[&str],
    ) -> Result<Vec<(String, Value)>> {
        self.slot(name)?.run(inputs, outputs)
    }

    /// How long this manager has existed.
    pub fn uptime(&self) -> Duration {
        self.registry.started.elapsed()
    }

    /// The counters in Prometheus' text format (version 0.0.4).
    pub fn metrics_text(&self) -> String {
        let slots = self.registry.slots.load();
        let mut stats: Vec<ModelStats> = slots.values().map(|s| s.stats()).collect();
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        metrics::text(&stats, self.uptime())
    }
}

impl std::fmt::Debug for ModelManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelManager").field("models", &self.models()).finish()
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    ensure!(
        fits,
        InvalidArgument,
        "'{}' is no model name: 1 to 128 of A-Z a-z 0-9 . _ - and no dot first",
        name.chars().take(140).collect::<String>()
    );
    Ok(())
}
