//! Serving a folder of models: what lies there is loaded, kept up to date, and unloaded.
//!
//! `repo` says what there is and what to do about it; here it is done.

use super::find::Found;
use super::load::{Activation, Add, ModelSource};
use super::registry::Name;
use super::rules::{RefreshReport, RepositoryRules};
use super::slot::{MAX_LABELS, Slot};
use super::{ModelManager, Registry, check_name};
use crate::error::{Error, Result, ensure, err};
use crate::metrics::trace;
use crate::model::{Classes, LoadOptions, Target};
use crate::process::OwnLock;
use crate::repo::{
    self, Action, Failure, FoundVersion, Labels, Repository, States, WatchMode, Watcher,
};
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A repository being served.
pub(super) struct Driver {
    repository: Repository,
    rules: RepositoryRules,
    policies: repo::Policies,
    /// How each version stands; held while a refresh works.
    states: OwnLock<States>,
    /// How each stood after the last look: what a forked child begins with.
    seen: ArcSwap<States>,
    registry: Weak<Registry>,
}

/// A driver with its watcher; dropped together with the manager.
pub(super) struct Served {
    pub(super) driver: Arc<Driver>,
    root: PathBuf,
    /// Ends the watching thread when dropped.
    watcher: Option<Watcher>,
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
        for (name, model) in &rules.models {
            check_name(name)?;
            for label in model.labels.keys() {
                check_name(label).map_err(|e| e.with_model(name))?;
            }
            if model.labels.len() > MAX_LABELS {
                let e = err!(LimitExceeded, "a model has at most {MAX_LABELS} labels");
                return Err(e.with_model(name));
            }
        }
        let driver = Arc::new(Driver {
            repository: Repository::open(root, rules.files.clone())?,
            policies,
            rules,
            states: OwnLock::new(States::new()),
            seen: ArcSwap::default(),
            registry: Arc::downgrade(registry),
        });
        let report = driver.refresh_until_settled();
        let watcher = driver.watch(root)?;
        Ok((Served { driver, root: root.to_path_buf(), watcher }, report))
    }

    /// Watches in a forked child, where its parent did: the thread that did is not there.
    pub(super) fn watch_as_child(&mut self) {
        if self.watcher.as_ref().map(Watcher::mode) != Some(WatchMode::Forked) {
            return;
        }
        match self.driver.watch(&self.root) {
            Ok(watcher) => self.watcher = watcher,
            Err(e) => trace::repository_problem("", &e),
        }
    }

    /// Lets the watcher look soon: it then knows when to look again.
    pub(super) fn look_again(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.poke();
        }
    }
}

impl Driver {
    fn watch(self: &Arc<Self>, root: &Path) -> Result<Option<Watcher>> {
        let Some(options) = self.rules.watch.clone() else { return Ok(None) };
        let watched: Weak<Driver> = Arc::downgrade(self);
        let on_change = move || watched.upgrade()?.refresh_if_idle();
        Watcher::start(vec![root.to_path_buf()], options, Box::new(on_change)).map(Some)
    }

    /// Looks once; a version whose files have not settled yet is left for the next look. Answers
    /// when that is due, too.
    pub(super) fn refresh(&self) -> (RefreshReport, Option<Instant>) {
        let mut states = self.states.lock(|| self.seen());
        let mut report = RefreshReport::default();
        let wake = self.step(&mut states, &mut report);
        (report, wake)
    }

    fn seen(&self) -> States {
        (**self.seen.load()).clone()
    }

    /// Looks once, and loads a model again that was unloaded by name. Without this a look leaves it
    /// alone: whoever unloads a model does not want it back at the next change of a file.
    fn readmit(&self, model: &str) -> RefreshReport {
        let mut states = self.states.lock(|| self.seen());
        let registry = self.registry.upgrade();
        if registry.is_some_and(|r| !r.slots.load().contains_key(model)) {
            states.remove(model);
        }
        let mut report = RefreshReport::default();
        self.step(&mut states, &mut report);
        report
    }

    /// The watcher's call, which never waits: where a refresh is under way already, it is to call
    /// again soon, since that one may have passed by what it was called for. Answers when to look
    /// again.
    fn refresh_if_idle(&self) -> Option<Instant> {
        match self.states.try_lock(|| self.seen()) {
            Some(mut states) => self.step(&mut states, &mut RefreshReport::default()),
            None => Some(Instant::now()),
        }
    }

    /// The first look: waits, within reason, for files to settle that are there already.
    fn refresh_until_settled(&self) -> RefreshReport {
        const GRACE: Duration = Duration::from_millis(200);
        let patience = self.rules.files.settle.saturating_mul(2).saturating_add(GRACE);
        let until = Instant::now().checked_add(patience);
        let mut states = self.states.lock(|| self.seen());
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
        self.seen.store(Arc::new(states.clone()));
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
        let _name: Option<Name<'_>>;
        let slot = match &known {
            None => {
                _name = Some(registry.reserve(&found.model)?);
                let slot = Slot::of_repository(&found.model, &registry);
                slot.gate.store(special.reload.gate.clone().map(Arc::new));
                slot
            }
            Some(slot) => {
                ensure!(
                    slot.from_repository,
                    AlreadyExists,
                    "a model of this name was loaded from elsewhere: the folder's versions are \
                     not served"
                );
                let there = slot.cell.with(|state| state.versions.get(&found.version).cloned());
                if let Some(version) = there {
                    // A child forked in the middle of a look has what that look had loaded.
                    return found.confirm(&version.info().digest);
                }
                slot.clone()
            }
        };
        let newest = match slot.find(&Target::Serving) {
            Ok(Found::Ready(version)) => version.number(),
            Ok(Found::Parked(number)) => number,
            Err(_) => 0,
        };
        let activation =
            if found.version > newest { Activation::Serve } else { Activation::Beside };
        slot.add(Add {
            source: Some(ModelSource::Path(found.model_path())),
            options: Some(options),
            activation,
            allow_signature_change: special.reload.allow_signature_change,
            gate: special.reload.gate.as_ref(),
            golden: Some(found.golden_files()?),
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
            // The version is there already, so that this does not undo its load.
            if *version == found.version
                && let Err(e) = slot.set_label(label, *version)
            {
                trace::repository_problem(&found.model, &e.context(format!("label '{label}'")));
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
            && slot.from_repository
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
    let serves = match slot.find(&Target::Serving) {
        Ok(Found::Ready(serving)) => serving.number() == version,
        Ok(Found::Parked(number)) => number == version,
        Err(_) => false,
    };
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

#[cfg(test)]
mod tests {
    use super::super::{Event, EventKind, ManagerOptions, ModelManager};
    use super::*;
    use crate::repo::WatchOptions;
    use crate::repo::tests::Folder;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    /// Longer than any test may take.
    const NEVER: Duration = Duration::from_secs(3600);

    fn iris() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iris_v1/model.onnx")
    }

    /// A folder with version 1 of `iris`.
    fn folder() -> Folder {
        let folder = Folder::new();
        let model = folder.dir("iris/1").join("model.onnx");
        std::fs::copy(iris(), model).unwrap();
        folder
    }

    fn rules() -> RepositoryRules {
        let mut rules = RepositoryRules::default();
        rules.files.settle = Duration::from_millis(1);
        rules
    }

    #[test]
    fn text_files_that_may_have_been_cut_are_refused() {
        let golden = r#"{"row": [5.9, 3.0, 5.1, 1.8]}"#;
        for name in ["golden.jsonl", "warmup.jsonl"] {
            let folder = folder();
            let file = folder.0.join("iris/1").join(name);
            let serve = || {
                let manager = ModelManager::default();
                manager.serve_repository(&folder.0, rules()).unwrap()
            };
            std::fs::write(&file, golden).unwrap();
            let report = serve();
            let [(_, 1, reason)] = &report.failed[..] else { panic!("{report:?}") };
            assert!(reason.contains("does not end with a line's end"), "{reason}");
            std::fs::write(&file, format!("{golden}\n")).unwrap();
            let report = serve();
            assert_eq!(report.loaded, [("iris".to_string(), 1)], "{report:?}");
        }
    }

    #[test]
    fn golden_requests_are_what_the_manifest_says() {
        use sha2::{Digest, Sha256};
        let hex = |bytes: &[u8]| -> String {
            Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
        };
        let folder = folder();
        let version = folder.0.join("iris/1");
        std::fs::write(version.join("golden.jsonl"), "{\"row\": [5.9, 3.0, 5.1, 1.8]}").unwrap();
        let lines: String = ["model.onnx", "golden.jsonl"]
            .map(|name| format!("{}  {name}\n", hex(&std::fs::read(version.join(name)).unwrap())))
            .concat();
        std::fs::write(version.join("manifest.sha256"), lines).unwrap();
        // A manifest vouches for the last line, end or not.
        let manager = ModelManager::default();
        let report = manager.serve_repository(&folder.0, rules()).unwrap();
        assert_eq!(report.loaded, [("iris".to_string(), 1)], "{report:?}");
        assert_eq!(manager.gate_report("iris").unwrap().unwrap().golden, 1);
    }

    #[test]
    fn a_watched_version_is_tried_again_when_that_is_due_not_at_the_next_poll() {
        let folder = folder();
        let bytes = ModelManager::default()
            .load("m", iris(), &LoadOptions::default())
            .unwrap()
            .info()
            .unwrap()
            .weight_bytes;
        // Room for one model, which another has.
        let size = std::fs::metadata(iris()).unwrap().len();
        let memory_budget = Some(bytes.max(size));
        let manager = ModelManager::new(ManagerOptions { memory_budget, ..Default::default() });
        manager.load("other", iris(), &LoadOptions::default()).unwrap();
        let mut rules = rules();
        rules.backoff.initial = Duration::from_millis(1);
        rules.watch = Some(WatchOptions {
            poll_interval: NEVER,
            quiet: Duration::from_millis(1),
            use_notify: false,
        });
        let report = manager.serve_repository(&folder.0, rules).unwrap();
        assert!(report.loaded.is_empty() && !report.failed.is_empty(), "{report:?}");
        let events = manager.events();
        manager.unload("other").unwrap();
        let serves = |e: &Event| &*e.model == "iris" && matches!(e.kind, EventKind::Serving { .. });
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = events.next_within(left).expect("it is never tried again");
            if serves(&event) {
                break;
            }
        }
    }

    #[test]
    fn a_call_of_the_watcher_during_a_refresh_is_not_lost() {
        let folder = folder();
        let registry = Arc::new(Registry::new(ManagerOptions::default()));
        let (served, _) = Served::start(&folder.0, rules(), &registry).unwrap();
        let under_way = served.driver.states.lock(States::new);
        let looked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let again = served.driver.refresh_if_idle();
                looked.store(again.is_some_and(|at| at <= Instant::now()), SeqCst);
            });
        });
        assert!(looked.load(SeqCst), "it asks to be called again, at once");
        drop(under_way);
        assert!(served.driver.refresh_if_idle().is_none(), "there is nothing to wait for");
    }
}
