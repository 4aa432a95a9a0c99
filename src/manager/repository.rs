//! Serving a folder of models: what lies there is loaded, kept up to date, and unloaded.
//!
//! `repo` says what there is and what to do about it; here it is done.

use super::load::{Activation, Add, ModelSource};
use super::policies::Policies;
use super::slot::Slot;
use super::{ModelManager, Registry, ReloadOptions, check_name};
use crate::error::{Error, Result, ensure, err};
use crate::metrics::trace;
use crate::model::{Classes, LoadOptions, Target};
use crate::repo::{
    self, Action, Backoff, Failure, FoundVersion, Labels, Repository, RepositoryOptions, States,
    VersionPolicy, WatchOptions, Watcher,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How the models of a repository are served.
#[derive(Debug, Clone, Default)]
pub struct RepositoryRules {
    /// When the files of a version count as complete, and which links are followed.
    pub files: RepositoryOptions,
    /// Which versions of a model without rules of its own are served; the newest by default.
    pub version_policy: VersionPolicy,
    /// What is special about single models, by name.
    pub models: BTreeMap<String, RepositoryModel>,
    /// Whether a model whose folder is gone is unloaded. Off by default: an emptied folder must
    /// not take down what serves.
    pub unload_missing: bool,
    /// When a version that could not be loaded is tried again.
    pub backoff: Backoff,
    /// Follow changes of the folder; `None` looks only when [`crate::ModelManager::refresh`] is
    /// called.
    pub watch: Option<WatchOptions>,
}

/// What is special about one model of a repository.
#[derive(Debug, Clone, Default)]
pub struct RepositoryModel {
    /// Which of its versions are served; `None` as [`RepositoryRules::version_policy`] says.
    pub version_policy: Option<VersionPolicy>,
    /// How its versions are loaded.
    pub reload: ReloadOptions,
    /// Its policies, from the first version on.
    pub policies: Option<Policies>,
    /// Labels to point to these versions as soon as they are there.
    pub labels: BTreeMap<String, u64>,
}

/// What a look at a repository did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RefreshReport {
    /// Versions loaded, as `(model, version)`.
    pub loaded: Vec<(String, u64)>,
    /// Versions taken out of service.
    pub unloaded: Vec<(String, u64)>,
    /// Versions that could not be loaded, with the reason.
    pub failed: Vec<(String, u64, String)>,
    /// Names in the folder that are no models or versions, with the reason.
    pub ignored: Vec<(String, String)>,
    /// Versions that serve and whose files have changed since: a changed model wants a new
    /// number.
    pub changed: Vec<(String, u64)>,
    /// Why the folder could not be read, where it could not.
    pub error: Option<String>,
}

/// A repository being served.
pub(super) struct Driver {
    repository: Repository,
    rules: RepositoryRules,
    policies: repo::Policies,
    /// How each version stands; held while a refresh works.
    states: Mutex<States>,
    registry: Weak<Registry>,
    /// Set by the watcher while a refresh works: it looks once more.
    again: AtomicBool,
}

/// A driver with its watcher; dropped together with the manager.
pub(super) struct Served {
    pub(super) driver: Arc<Driver>,
    /// Ends the watching thread when dropped.
    _watcher: Option<Watcher>,
}

impl Served {
    pub(super) fn start(
        root: &Path,
        rules: RepositoryRules,
        registry: &Arc<Registry>,
    ) -> Result<(Served, RefreshReport)> {
        let policies = repo::Policies {
            default: rules.version_policy.clone(),
            models: rules
                .models
                .iter()
                .filter_map(|(name, m)| Some((name.clone(), m.version_policy.clone()?)))
                .collect(),
            unload_missing: rules.unload_missing,
        };
        for name in rules.models.keys() {
            check_name(name)?;
        }
        let watch = rules.watch.clone();
        let driver = Arc::new(Driver {
            repository: Repository::open(root, rules.files.clone())?,
            policies,
            rules,
            states: Mutex::default(),
            registry: Arc::downgrade(registry),
            again: AtomicBool::new(false),
        });
        let report = driver.refresh_until_settled();
        let watcher = match watch {
            Some(options) => {
                let watched: Weak<Driver> = Arc::downgrade(&driver);
                let on_change = move || {
                    if let Some(driver) = watched.upgrade() {
                        driver.refresh_if_idle();
                    }
                };
                Some(Watcher::start(vec![root.to_path_buf()], options, Box::new(on_change))?)
            }
            None => None,
        };
        Ok((Served { driver, _watcher: watcher }, report))
    }
}

impl Driver {
    /// Looks once; a version whose files have not settled yet is left for the next look.
    pub(super) fn refresh(&self) -> RefreshReport {
        let mut states = self.states.lock();
        let mut report = RefreshReport::default();
        self.step(&mut states, &mut report);
        report
    }

    /// Looks once, and loads a model again that was unloaded by name. Without this a look leaves it
    /// alone: whoever unloads a model does not want it back at the next change of a file.
    fn readmit(&self, model: &str) -> RefreshReport {
        let mut states = self.states.lock();
        let registry = self.registry.upgrade();
        if registry.is_some_and(|r| !r.slots.load().contains_key(model)) {
            states.remove(model);
        }
        let mut report = RefreshReport::default();
        self.step(&mut states, &mut report);
        report
    }

    /// The watcher's call: where a refresh is under way already, that one looks once more.
    fn refresh_if_idle(&self) {
        // Pairs with the swap below: a change that was seen during a look is looked at again.
        self.again.store(true, Ordering::SeqCst);
        let Some(mut states) = self.states.try_lock() else { return };
        while self.again.swap(false, Ordering::SeqCst) {
            self.step(&mut states, &mut RefreshReport::default());
        }
    }

    /// The first look: waits, within reason, for files to settle that are there already.
    fn refresh_until_settled(&self) -> RefreshReport {
        const GRACE: Duration = Duration::from_millis(200);
        let patience = self.rules.files.settle.saturating_mul(2).saturating_add(GRACE);
        let until = Instant::now().checked_add(patience);
        let mut states = self.states.lock();
        let mut report = RefreshReport::default();
        loop {
            let wake = self.step(&mut states, &mut report);
            let Some(wake) = wake.filter(|wake| until.is_some_and(|until| *wake <= until)) else {
                return report;
            };
            let pause = wake.saturating_duration_since(Instant::now());
            std::thread::sleep(pause.max(Duration::from_millis(1)));
        }
    }

    fn step(&self, states: &mut States, report: &mut RefreshReport) -> Option<Instant> {
        let now = Instant::now();
        let scan = self.repository.scan(&self.policies, now);
        let plan = repo::reconcile(&scan, &self.policies, states, now);
        report.ignored =
            scan.ignored.iter().map(|i| (i.name.clone(), i.reason.to_string())).collect();
        report.error = scan.error.as_ref().map(ToString::to_string);
        if let Some(error) = &scan.error {
            trace::repository_problem("", error);
        }
        for (name, model) in &scan.models {
            if let Some(error) = &model.error {
                trace::repository_problem(name, error);
            }
        }
        report.changed = plan.changed.iter().map(|(m, v)| (m.to_string(), *v)).collect();
        let mut wake = plan.wake;
        for action in plan.actions {
            match action {
                Action::Load(found) => self.load(&found, states, report, &mut wake),
                Action::Unload { model, version } => self.unload(&model, version, states, report),
            }
        }
        wake
    }

    fn load(
        &self,
        found: &Arc<FoundVersion>,
        states: &mut States,
        report: &mut RefreshReport,
        wake: &mut Option<Instant>,
    ) {
        let (model, version) = (found.model.clone(), found.version);
        let previous = match states.get(&model).and_then(|m| m.get(&version)) {
            Some(repo::VersionState::Failed(failure)) => Some(failure.clone()),
            _ => None,
        };
        let state = match self.load_found(found) {
            Ok(()) => {
                report.loaded.push((model.to_string(), version));
                repo::VersionState::Serving(found.fingerprint)
            }
            Err(e) => {
                report.failed.push((model.to_string(), version, e.to_string()));
                let fingerprint = found.fingerprint;
                let backoff = &self.rules.backoff;
                let now = Instant::now();
                let failure = Failure::after(previous.as_ref(), fingerprint, e, now, backoff);
                *wake = [*wake, failure.retry_at].into_iter().flatten().min();
                repo::VersionState::Failed(failure)
            }
        };
        states.entry(model).or_default().insert(version, state);
    }

    fn load_found(&self, found: &FoundVersion) -> Result<()> {
        let registry =
            self.registry.upgrade().ok_or_else(|| err!(Cancelled, "the manager is gone"))?;
        let special = self.rules.models.get(&*found.model).cloned().unwrap_or_default();
        let mut options = special.reload.load.unwrap_or_else(LoadOptions::default);
        options.version = Some(found.version);
        if options.classes.is_none() {
            options.classes = found.labels()?.map(|labels| match labels {
                Labels::Int(v) => Classes::Int(v),
                Labels::Str(v) => Classes::Str(v),
            });
        }
        if options.threads == 0 {
            options.threads = registry.options.threads;
        }
        let known = registry.slots.load().get(&*found.model).cloned();
        let slot = match &known {
            // Its versions come and go as the folder says: none is trimmed.
            None => Slot::new(&found.model, usize::MAX, &registry),
            Some(slot) => slot.clone(),
        };
        let newest = slot.version(&Target::Serving).map_or(0, |v| v.number());
        let activation =
            if found.version > newest { Activation::Serve } else { Activation::Beside };
        slot.add(Add {
            source: Some(ModelSource::Path(found.model_path())),
            options: Some(options),
            activation,
            allow_signature_change: special.reload.allow_signature_change,
            gate: special.reload.gate.as_ref(),
            any_number: true,
            confirm: Some(&|info| found.confirm(&info.digest)),
        })?;
        if known.is_none() {
            if let Some(policies) = special.policies {
                slot.set_policies(policies)?;
            }
            registry.insert(slot.clone())?;
        }
        for (label, version) in &special.labels {
            if *version == found.version {
                slot.set_label(label, *version)?;
            }
        }
        Ok(())
    }

    fn unload(
        &self,
        model: &Arc<str>,
        version: u64,
        states: &mut States,
        report: &mut RefreshReport,
    ) {
        if let Some(registry) = self.registry.upgrade()
            && let Some(slot) = registry.slots.load().get(&**model).cloned()
            && !leave(&registry, &slot, version)
        {
            return;
        }
        report.unloaded.push((model.to_string(), version));
        if let Some(versions) = states.get_mut(model) {
            versions.remove(&version);
            if versions.is_empty() {
                states.remove(model);
            }
        }
    }
}

impl ModelManager {
    /// Looks at the repository now, as [`ModelManager::refresh`], for the sake of the model
    /// `name`: one that was unloaded by name is loaded again.
    ///
    /// # Errors
    /// `NotFound` when the manager serves no repository, or no version of the model can be loaded
    /// from it.
    pub fn load_from_repository(&self, name: &str) -> Result<RefreshReport> {
        check_name(name)?;
        let driver = match &*self.registry.repository.lock() {
            Some(served) => served.driver.clone(),
            None => return Err(none()),
        };
        let report = driver.readmit(name);
        if !self.registry.slots.load().contains_key(name) {
            let why = report.failed.iter().rfind(|(model, ..)| model == name);
            let why = why.map_or("there is none that is complete", |(.., why)| why);
            return Err(err!(NotFound, "no version can be loaded from the repository: {why}")
                .with_model(name));
        }
        Ok(report)
    }

    /// The folder of the repository that the manager serves, where it serves one.
    pub fn repository_root(&self) -> Option<PathBuf> {
        let served = self.registry.repository.lock();
        served.as_ref().map(|served| served.driver.repository.root().to_path_buf())
    }
}

/// Takes a version of a repository out of service. Where it serves, the newest of the others
/// serves in its place; where there is no other, the model goes.
fn leave(registry: &Registry, slot: &Slot, version: u64) -> bool {
    let others = slot.available().into_iter().filter(|other| *other != version).max();
    let serves = slot.current().is_ok_and(|serving| serving.number() == version);
    match (serves, others) {
        (false, _) => slot.unload_version(version).is_ok(),
        (true, Some(other)) => slot.serve(other).is_ok() && slot.unload_version(version).is_ok(),
        (true, None) => registry.remove(slot.name()).is_ok(),
    }
}

/// Refuses a second repository in one manager.
pub(super) fn ensure_none(served: Option<&Served>) -> Result<()> {
    ensure!(
        served.is_none(),
        AlreadyExists,
        "the manager serves a repository already: make another manager for another folder"
    );
    Ok(())
}

/// The error of a manager without a repository.
pub(super) fn none() -> Error {
    err!(NotFound, "the manager serves no repository: call serve_repository first")
}
