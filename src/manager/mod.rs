//! The manager: models by name, each behind one atomic pointer.
//!
//! A prediction takes a lease on the version that serves at that moment and finishes on it; a
//! reload builds and probes the next version fully aside and then swaps the pointer. No lock is
//! held while a model runs, and readers never wait for a reload.

mod canary;
mod cell;
mod configure;
mod events;
mod find;
mod follow;
mod gate;
mod handle;
mod laned;
mod later;
mod load;
mod measured;
mod memory;
mod operate;
mod pinned;
mod policies;
mod recent;
mod recording;
mod registry;
mod repository;
mod rules;
mod settle;
mod slot;
mod snapshot;
mod stats;
mod statuses;
mod tell;
mod version;
mod versions;

#[cfg(all(test, feature = "onnx"))]
mod tests;

pub use events::{Event, EventKind, Events, VersionState, VersionStatus};
pub use gate::{Gate, GateReport, WorstRow};
pub use handle::ModelHandle;
pub use load::ModelSource;
pub use memory::{MemoryPolicy, MemoryUse};
pub use policies::{Another, CanaryRule, FallbackRule, FallbackTo, Policies, ShadowRule};
pub use rules::{RefreshReport, RepositoryModel, RepositoryRules};
pub use snapshot::Snapshot;
pub use stats::{ModelStats, VersionStats};

use crate::error::{Error, Result, ensure};
use crate::metrics::{Metrics, MetricsOptions, TextFormat};
use crate::model::{
    Ctx, Done, Features, LoadOptions, Model, ModelInfo, Prediction, Predictions, Reply, Request,
};
use crate::tensor::Value;
use bytes::Bytes;
use load::{Activation, Add};
use registry::{Registry, not_found};
use repository::Served;
use slot::Slot;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a manager is set up.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Worker threads of models that do not ask for a number of their own; 0 means the process's
    /// CPU quota.
    pub threads: usize,
    /// Versions of a model that stay available, the serving one included (1). With 2, going back
    /// to the version before needs no loading. Versions that a label or a policy points to stay
    /// in any case.
    pub keep_versions: usize,
    /// Bytes that all versions may hold together; `None` sets no bound.
    pub memory_budget: Option<u64>,
    /// What to do when a version does not fit into the budget.
    pub memory_policy: MemoryPolicy,
    /// How many series the metrics may have.
    pub metrics: MetricsOptions,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        ManagerOptions {
            threads: 0,
            keep_versions: 1,
            memory_budget: None,
            memory_policy: MemoryPolicy::Refuse,
            metrics: MetricsOptions::default(),
        }
    }
}

/// How to reload.
#[derive(Debug, Clone, Default)]
pub struct ReloadOptions {
    /// How to load the new file; `None` loads it as the present one was loaded.
    pub load: Option<LoadOptions>,
    /// Accept a new version with other inputs, outputs, task or classes.
    pub allow_signature_change: bool,
    /// What the new version has to show before it serves; `None` is what the configuration file
    /// says of the model, where it says something.
    pub gate: Option<Gate>,
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
        ModelManager { registry: Arc::new(Registry::new(options)) }
    }

    fn with_defaults(&self, options: &LoadOptions) -> LoadOptions {
        let mut options = options.clone();
        if options.threads == 0 {
            options.threads = self.registry.options.threads;
        }
        options
    }

    /// Loads a model and serves it under a name of `[A-Za-z0-9._-]`, 1 to 128 characters, not
    /// starting with a dot.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, also by a load under way, `InvalidArgument` for a name of another form,
    /// `LimitExceeded` when the manager's memory budget or number of models is used up; else as
    /// [`crate::load`]. Nothing is changed then.
    pub fn load_from(
        &self,
        name: &str,
        source: impl Into<ModelSource>,
        options: &LoadOptions,
    ) -> Result<ModelHandle> {
        let registry = &self.registry;
        check_name(name)?;
        let _name = registry.reserve(name)?;
        let slot = Slot::new(name, registry.options.keep_versions, registry);
        slot.add(Add {
            options: Some(self.with_defaults(options)),
            allow_signature_change: true,
            ..Add::new(Some(source.into()), Activation::Serve)
        })?;
        registry.insert(slot.clone())?;
        Ok(ModelHandle::following(slot))
    }

    /// As [`ModelManager::load_from`], from a file. The golden requests beside it are asked
    /// first.
    ///
    /// # Errors
    /// As [`ModelManager::load_from`].
    pub fn load(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<ModelHandle> {
        self.load_from(name, path.as_ref(), options)
    }

    /// As [`ModelManager::load_from`], from the bytes of a file.
    ///
    /// # Errors
    /// As [`ModelManager::load_from`].
    pub fn load_bytes(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
        options: &LoadOptions,
    ) -> Result<ModelHandle> {
        self.load_from(name, bytes.into(), options)
    }

    /// Loads another version of a model beside the serving one. It can be asked by its number,
    /// and by a label or route that points to it; [`ModelManager::serve`] makes it serve.
    ///
    /// # Errors
    /// As [`ModelManager::reload`].
    pub fn load_version(
        &self,
        name: &str,
        source: impl Into<ModelSource>,
        options: &ReloadOptions,
    ) -> Result<ModelInfo> {
        self.add(name, Some(source.into()), options, Activation::Beside)
    }

    fn add(
        &self,
        name: &str,
        source: Option<ModelSource>,
        options: &ReloadOptions,
        activation: Activation,
    ) -> Result<ModelInfo> {
        self.slot(name)?.add(Add {
            options: options.load.as_ref().map(|load| self.with_defaults(load)),
            allow_signature_change: options.allow_signature_change,
            gate: options.gate.as_ref(),
            ..Add::new(source, activation)
        })
    }

    /// Loads the next version of a model from `path` (the present version's path when `None`),
    /// then swaps it in atomically. Requests under way finish on the old version, whose memory
    /// returns after the last of them.
    ///
    /// Before the swap the new version has to fit the old one's signature (unless allowed
    /// otherwise), to answer the golden requests beside its file, and to pass the gate, where
    /// there is one ([`ModelManager::gate_report`] has what it found). Loading runs on a thread
    /// of low priority.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, `InvalidModel` for a changed signature that is not allowed
    /// or a candidate that was rejected, `InvalidArgument` for a version number that does not
    /// rise; else as [`crate::load`]. The serving version is untouched then, and
    /// [`VersionStats`] keep the error.
    pub fn reload(
        &self,
        name: &str,
        path: Option<&Path>,
        options: &ReloadOptions,
    ) -> Result<ModelInfo> {
        self.add(name, path.map(ModelSource::from), options, Activation::Serve)
    }

    /// As [`ModelManager::reload`], from bytes, a path or a model made in code.
    ///
    /// # Errors
    /// As [`ModelManager::reload`].
    pub fn reload_from(
        &self,
        name: &str,
        source: impl Into<ModelSource>,
        options: &ReloadOptions,
    ) -> Result<ModelInfo> {
        self.add(name, Some(source.into()), options, Activation::Serve)
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
        self.reload_from(name, bytes.into(), options)
    }

    /// What the last gate of this model found, let in or not.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn gate_report(&self, name: &str) -> Result<Option<Arc<GateReport>>> {
        Ok(self.slot(name)?.gate_report.load_full())
    }

    /// Answers a request in any form with the model `name`: see [`ModelHandle::call`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn call(&self, name: &str, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.asked(name)?.call(request, ctx)
    }

    /// As [`ModelManager::call`], on another thread: see [`ModelHandle::submit`].
    pub fn submit(&self, name: &str, request: Request<'static>, ctx: Ctx, done: Done) {
        match self.asked(name) {
            Ok(slot) => slot.submit(request, ctx, done),
            Err(e) => done.call(Err(e), ctx),
        }
    }

    /// Takes a model out of service. Requests under way and pinned handles keep their version
    /// until they are done with it.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn unload(&self, name: &str) -> Result<()> {
        self.registry.remove(name)
    }

    /// Serves a folder of models, laid out as `<root>/<model>/<version>/<files>`, and follows its
    /// changes (`docs/repository.md`). Versions that are there and complete are loaded before
    /// this returns; what could not be loaded is in the report, and is tried again.
    ///
    /// # Errors
    /// `AlreadyExists` when the manager serves a repository already; `NotFound`,
    /// `PermissionDenied` or `Io` for the folder; `InvalidArgument` for a model's name.
    pub fn serve_repository(
        &self,
        root: impl AsRef<Path>,
        rules: RepositoryRules,
    ) -> Result<RefreshReport> {
        // Not held while models are loaded: `refresh` and a second call see what is there.
        repository::ensure_none(self.registry.repository.lock().as_ref())?;
        let (served, report) = Served::start(root.as_ref(), rules, &self.registry)?;
        let mut repository = self.registry.repository.lock();
        repository::ensure_none(repository.as_ref())?;
        *repository = Some(served);
        Ok(report)
    }

    /// Looks at the repository now, and does what there is to do. A version whose files changed
    /// of late is left for a later look: they may still be being copied.
    ///
    /// # Errors
    /// `NotFound` when the manager serves no repository.
    pub fn refresh(&self) -> Result<RefreshReport> {
        let driver = match &*self.registry.repository.lock() {
            Some(served) => served.driver.clone(),
            None => return Err(repository::none()),
        };
        let (report, wake) = driver.refresh();
        if wake.is_some()
            && let Some(served) = &*self.registry.repository.lock()
        {
            served.look_again();
        }
        Ok(report)
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>> {
        self.registry.slots.load().get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// The slot that a request names.
    fn asked(&self, name: &str) -> Result<Arc<Slot>> {
        self.slot(name).map_err(|e| self.unknown(e))
    }

    /// Counts a request for a model that is not there.
    fn unknown(&self, e: Error) -> Error {
        let unknown = self.registry.metrics.unknown();
        unknown.begin();
        unknown.failed(e.kind());
        e
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
        self.registry.names()
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
            None => Err(self.unknown(not_found(name))),
        }
    }

    /// Predicts one row: see [`crate::Model::predict`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn predict(&self, name: &str, row: Features<'_>) -> Result<Prediction> {
        self.asked(name)?.predict(row)
    }

    /// Predicts a batch: see [`crate::Model::predict_batch`].
    ///
    /// # Errors
    /// `NotFound` for an unknown name; else as the model's.
    pub fn predict_batch(&self, name: &str, rows: Features<'_>) -> Result<Predictions> {
        self.asked(name)?.predict_batch(rows)
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
        self.asked(name)?.run(inputs, outputs)
    }

    /// How long this manager has existed.
    pub fn uptime(&self) -> Duration {
        self.registry.started.elapsed()
    }

    /// All metrics as text: see [`ModelManager::metrics`]. In the format that every version of
    /// Prometheus reads.
    pub fn metrics_text(&self) -> String {
        self.registry.metrics.encode_as(TextFormat::Prometheus)
    }

    /// The metrics of this manager (`docs/metrics.md`), for scrapes that choose a format.
    pub fn metrics(&self) -> &Metrics {
        &self.registry.metrics
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
