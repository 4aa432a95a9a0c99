//! Loading a version of a name: aside, tried out, and only then published.

use super::events::VersionState;
use super::gate::{Gate, GoldenFiles};
use super::memory::Reserved;
use super::slot::{Origin, Serving, Slot};
use super::version::Version;
use crate::error::{Result, bail, ensure, err};
use crate::model::{LoadOptions, Model, ModelInfo, Signature, TensorSpec, load, load_bytes};
use crate::source;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the loads of one name need to know of each other.
#[derive(Default)]
pub(super) struct Loading {
    /// How the last version was loaded: the next one is loaded alike unless told otherwise.
    pub options: LoadOptions,
    /// The highest version number so far.
    pub last_version: u64,
}

/// Whether a new version serves at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Requests that name no version get it.
    Serve,
    /// It can be asked by its number, a label or a route.
    Beside,
}

/// Where a model comes from.
#[derive(Clone)]
#[non_exhaustive]
pub enum ModelSource {
    /// A model file.
    Path(PathBuf),
    /// The content of a file.
    Bytes(Bytes),
    /// A model made in code.
    Model(Arc<dyn Model>),
}

impl From<&Path> for ModelSource {
    fn from(path: &Path) -> Self {
        ModelSource::Path(path.to_path_buf())
    }
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        ModelSource::Path(path)
    }
}

impl From<&str> for ModelSource {
    fn from(path: &str) -> Self {
        ModelSource::Path(path.into())
    }
}

impl From<Bytes> for ModelSource {
    fn from(bytes: Bytes) -> Self {
        ModelSource::Bytes(bytes)
    }
}

impl From<Vec<u8>> for ModelSource {
    fn from(bytes: Vec<u8>) -> Self {
        ModelSource::Bytes(bytes.into())
    }
}

/// Looks at what was loaded before it is published.
type Confirm<'a> = dyn Fn(&ModelInfo) -> Result<()> + 'a;

/// One load.
pub(super) struct Add<'a> {
    /// `None` loads the present version's file again.
    pub source: Option<ModelSource>,
    /// `None` loads as the last version was loaded.
    pub options: Option<LoadOptions>,
    pub activation: Activation,
    pub allow_signature_change: bool,
    /// `None` is the name's own, where it has one.
    pub gate: Option<&'a Gate>,
    /// The files of golden and warm-up requests; `None` reads those beside the model file.
    pub golden: Option<GoldenFiles>,
    /// Accept any number that is not taken, not only rising ones.
    pub any_number: bool,
    /// A last check of what was loaded.
    pub confirm: Option<&'a Confirm<'a>>,
}

impl Add<'_> {
    /// A load as people ask for it: numbers rise.
    pub fn new(source: Option<ModelSource>, activation: Activation) -> Add<'static> {
        Add {
            source,
            options: None,
            activation,
            allow_signature_change: false,
            gate: None,
            golden: None,
            any_number: false,
            confirm: None,
        }
    }
}

impl Slot {
    /// Loads, tries out and publishes a version.
    pub(super) fn add(&self, add: Add<'_>) -> Result<ModelInfo> {
        let mut loading = self.change();
        let result = self.add_locked(&mut loading, add);
        self.model_metrics.reloaded(result.as_ref().map(|_| ()).map_err(|e| e.kind()));
        result.map_err(|e| {
            let e = e.with_model(&self.name);
            if let Some(serving) = self.serving() {
                serving.counts().reload_failed(&e);
            }
            e
        })
    }

    /// A number that no available version has.
    fn free_number(&self, number: u64) -> Result<u64> {
        let taken = self.cell.with(|state| state.versions.contains_key(&number));
        ensure!(!taken, AlreadyExists, "version {number} is loaded already");
        next_number(Some(number), 0)
    }

    fn serving(&self) -> Option<Arc<Version>> {
        self.cell.with(|state| match &state.serving {
            Serving::Version(v) => Some(v.clone()),
            _ => None,
        })
    }

    fn add_locked(&self, loading: &mut Loading, add: Add<'_>) -> Result<ModelInfo> {
        let mut options = add.options.unwrap_or_else(|| LoadOptions {
            version: None,
            display_version: None,
            ..loading.options.clone()
        });
        let number = match options.version {
            Some(number) if add.any_number => self.free_number(number)?,
            asked => next_number(asked, loading.last_version)?,
        };
        options.version = Some(number);
        let source = match (add.source, self.cell.with(|s| s.path())) {
            (Some(source), _) => source,
            (None, Some(path)) => ModelSource::Path(path),
            (None, None) => bail!(
                InvalidArgument,
                "the serving version was loaded from bytes: name the file to reload from"
            ),
        };
        self.enter(number, VersionState::Start, None);
        let confirmed = |(version, room): (Version, Reserved)| {
            if let Some(confirm) = add.confirm {
                confirm(version.info())?;
            }
            Ok((version, room))
        };
        let own = self.gate.load();
        let gate = add.gate.or(own.as_deref());
        let result = self
            .build(&source, &options, add.allow_signature_change, gate, add.golden)
            .and_then(confirmed);
        match result {
            Ok((version, _room)) => {
                loading.last_version = loading.last_version.max(number);
                loading.options = options;
                let info = version.info().clone();
                let published = self.publish(version, add.activation);
                if let Err(e) = &published {
                    self.enter(number, VersionState::End, Some(e));
                }
                published.map(|()| info)
            }
            Err(e) => {
                self.enter(number, VersionState::End, Some(&e));
                Err(e)
            }
        }
    }

    /// Loads a version again that was here before, and lets it be asked.
    pub(super) fn reload_origin(&self, _: &mut Loading, origin: &Origin) -> Result<()> {
        let Some(path) = &origin.path else {
            bail!(
                NotReady,
                "version {} was loaded from bytes and is gone: keep it (ManagerOptions::keep_versions \
                 of 2) to go back to it",
                origin.version
            );
        };
        let source = ModelSource::Path(path.clone());
        self.enter(origin.version, VersionState::Start, None);
        let same_files = |(version, room): (Version, Reserved)| {
            let info = version.info();
            ensure!(
                info.digest == origin.digest,
                NotReady,
                "the file of version {} is another one now (digest {}, was {})",
                origin.version,
                info.digest,
                origin.digest
            );
            ensure!(
                info.companions == origin.companions,
                NotReady,
                "the files beside that of version {} are others now",
                origin.version
            );
            Ok((version, room))
        };
        let result = self.build(&source, &origin.options, true, None, None).and_then(same_files);
        match result {
            Ok((version, _room)) => self.publish(version, Activation::Beside),
            Err(e) => {
                self.enter(origin.version, VersionState::End, Some(&e));
                Err(e)
            }
        }
    }

    fn build(
        &self,
        source: &ModelSource,
        options: &LoadOptions,
        allow_signature_change: bool,
        gate: Option<&Gate>,
        golden: Option<GoldenFiles>,
    ) -> Result<(Version, Reserved)> {
        let number = options.version.unwrap_or(1);
        self.enter(number, VersionState::Loading, None);
        // The size of the file, until it is known what comes of it.
        let guess = match source {
            ModelSource::Path(path) => source::resolve(path, options.config.is_some())
                .ok()
                .and_then(|file| std::fs::metadata(file).ok())
                .map_or(0, |m| m.len()),
            _ => 0,
        };
        let room = self.memory.make_room(guess, &self.name)?;
        let serving = self.serving();
        let make = || -> Result<Arc<dyn Model>> {
            Ok(match source {
                ModelSource::Path(path) => Arc::new(load(path, options)?),
                ModelSource::Bytes(bytes) => Arc::new(load_bytes(bytes.clone(), options)?),
                ModelSource::Model(model) => model.clone(),
            })
        };
        let model = if serving.is_some() { at_low_priority(make)? } else { make()? };
        let version = Version::new(self, model, number, options.clone());
        if let Some(serving) = &serving
            && !allow_signature_change
        {
            same_signature(&serving.info().signature, &version.info().signature)?;
        }
        drop(room);
        let room = self.memory.make_room(version.info().weight_bytes, &self.name)?;
        let files = match (golden, source) {
            (Some(files), _) => files,
            (None, ModelSource::Path(path)) => {
                // Beside the file that was loaded: the path may be that of its folder.
                super::gate::golden_beside(version.info().path.as_deref().unwrap_or(path))?
            }
            (None, _) => Vec::new(),
        };
        let golden = super::gate::golden_requests(&files, &version)?;
        let report = at_low_priority(|| {
            super::gate::examine(gate, &golden, serving.as_deref(), &version, &self.recent)
        })?;
        if let Some(report) = report {
            let report = Arc::new(report);
            self.gate_report.store(Some(report.clone()));
            if !report.accepted {
                let reason = report.reasons.join("; ");
                self.events.send(
                    &self.name,
                    number,
                    super::events::EventKind::Rejected { reason: reason.clone() },
                );
                bail!(InvalidModel, "version {number} was rejected: {reason}");
            }
        }
        Ok((version, room))
    }
}

/// The number asked for, or one more than the last.
fn next_number(asked: Option<u64>, last: u64) -> Result<u64> {
    const MAX: u64 = i64::MAX as u64;
    match asked {
        Some(number) => {
            ensure!(
                (1..=MAX).contains(&number),
                InvalidArgument,
                "version {number} is outside 1 to 2^63-1"
            );
            ensure!(
                number > last,
                InvalidArgument,
                "version {number} is not above the last one, {last}"
            );
            Ok(number)
        }
        None => {
            ensure!(last < MAX, LimitExceeded, "version numbers are used up");
            Ok(last + 1)
        }
    }
}

/// Runs `work` on a thread that yields to the threads that answer requests.
fn at_low_priority<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    const NICE: i32 = 10;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("modelserve-load".to_string());
        let spawned = thread.spawn_scoped(scope, || {
            // Linux keeps a nice value a thread; elsewhere, or where it is refused, the load runs
            // at normal priority.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, NICE);
            crate::model::contain(work)
        });
        match spawned {
            Ok(handle) => handle
                .join()
                .unwrap_or_else(|_| Err(err!(Internal, "the loading thread ended early"))),
            Err(e) => Err(err!(NotReady, "no thread to load on: {e}")),
        }
    })
}

/// Refuses a new version that callers of the old one could not use.
fn same_signature(old: &Signature, new: &Signature) -> Result<()> {
    let shapes = |s: &Signature| {
        let names = |specs: &[TensorSpec]| {
            specs.iter().map(|t| (t.name.clone(), t.dtype(), t.row_width())).collect::<Vec<_>>()
        };
        (names(&s.inputs), s.outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>())
    };
    let same = shapes(old) == shapes(new) && old.task == new.task && old.classes == new.classes;
    ensure!(
        same,
        InvalidModel,
        "the new version's signature {new} is not the serving one's {old}; allow_signature_change \
         accepts it"
    );
    Ok(())
}
