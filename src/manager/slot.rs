//! One name: the serving version behind an atomic pointer.

use super::stats::{Counters, ModelStats};
use super::{ReloadOptions, VersionStats};
use crate::error::{Error, Result, ensure, err};
use crate::model::{
    Ctx, Features, GraphModel, LoadOptions, Model, ModelInfo, Prediction, Predictions, Reply,
    Request, Signature,
};
use crate::tensor::{Tensor, Value};
use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Versions whose counts are kept after they were replaced.
const KEPT_VERSIONS: usize = 64;

/// One version in service, with its counts. Immutable but for the counts.
pub(super) struct Version {
    model: GraphModel,
    info: ModelInfo,
    counters: Arc<Counters>,
}

/// A named place for versions.
pub(super) struct Slot {
    name: String,
    serving: ArcSwapOption<Version>,
    /// Serialises reloads of this name; predictions never touch it.
    reload: Mutex<ReloadState>,
    history: Mutex<VecDeque<Arc<Counters>>>,
}

struct ReloadState {
    options: LoadOptions,
    last_version: u64,
}

impl Version {
    fn new(name: &str, model: GraphModel) -> Version {
        let mut info = model.info();
        info.name = Some(name.to_string());
        let counters = Arc::new(Counters::new(info.version));
        Version { model, info, counters }
    }

    fn counted<R>(&self, rows: usize, f: impl FnOnce(&GraphModel) -> Result<R>) -> Result<R> {
        let began = Instant::now();
        match f(&self.model) {
            Ok(answer) => {
                self.counters.success(rows, began.elapsed());
                Ok(answer)
            }
            Err(e) => {
                let e = e.with_model(self.info.name.as_deref().unwrap_or_default());
                self.counters.failure(&e);
                Err(e)
            }
        }
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Model for Version {
    fn signature(&self) -> Arc<Signature> {
        self.model.signature()
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.counted(request.rows(), |m| m.call(request, ctx))
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.model.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.model.estimated_ns(rows)
    }

    fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        self.counted(1, |m| m.predict_row(row))
    }
}

impl Slot {
    pub(super) fn new(name: &str, model: GraphModel, options: LoadOptions) -> Slot {
        let version = Version::new(name, model);
        let last_version = version.info.version;
        let history = VecDeque::from([version.counters.clone()]);
        Slot {
            name: name.to_string(),
            serving: ArcSwapOption::from_pointee(version),
            reload: Mutex::new(ReloadState { options, last_version }),
            history: Mutex::new(history),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn gone(&self) -> Error {
        err!(NotFound, "was unloaded").with_model(&self.name)
    }

    /// A lease on the serving version, held for one call.
    fn lease(&self) -> Result<Guard<Option<Arc<Version>>>> {
        let guard = self.serving.load();
        if guard.is_some() { Ok(guard) } else { Err(self.gone()) }
    }

    /// The serving version, to keep.
    pub(super) fn current(&self) -> Result<Arc<Version>> {
        self.serving.load_full().ok_or_else(|| self.gone())
    }

    fn with<R>(&self, f: impl FnOnce(&Version) -> Result<R>) -> Result<R> {
        match &*self.lease()? {
            Some(version) => f(version),
            None => Err(self.gone()),
        }
    }

    pub(super) fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        self.with(|v| v.predict_row(row))
    }

    pub(super) fn predict(&self, row: Features<'_>) -> Result<Prediction> {
        self.with(|v| v.predict(row))
    }

    pub(super) fn predict_batch(&self, rows: Features<'_>) -> Result<Predictions> {
        self.with(|v| v.predict_batch(rows))
    }

    pub(super) fn run(
        &self,
        inputs: Vec<(String, Value)>,
        outputs: &[&str],
    ) -> Result<Vec<(String, Value)>> {
        self.with(|v| v.run(inputs, outputs))
    }

    pub(super) fn estimated_ns(&self, rows: usize) -> u64 {
        self.serving.load().as_ref().map_or(0, |v| v.estimated_ns(rows))
    }

    /// Ends the service of this name.
    pub(super) fn retire(&self) {
        let _guard = self.reload.lock();
        self.serving.store(None);
    }

    /// Builds the next version aside, checks it against the serving one, and swaps.
    pub(super) fn reload(
        &self,
        options: &ReloadOptions,
        load: impl FnOnce(&LoadOptions, Option<&Path>) -> Result<GraphModel>,
    ) -> Result<ModelInfo> {
        let mut state = self.reload.lock();
        let serving = self.current()?;
        let result = self.build(&mut state, &serving, options, load);
        match result {
            Ok(version) => {
                let info = version.info.clone();
                let mut history = self.history.lock();
                history.push_back(version.counters.clone());
                if history.len() > KEPT_VERSIONS {
                    history.pop_front();
                }
                drop(history);
                self.serving.store(Some(Arc::new(version)));
                Ok(info)
            }
            Err(e) => {
                let e = e.with_model(&self.name);
                serving.counters.reload_failed(&e);
                Err(e)
            }
        }
    }

    fn build(
        &self,
        state: &mut ReloadState,
        serving: &Version,
        options: &ReloadOptions,
        load: impl FnOnce(&LoadOptions, Option<&Path>) -> Result<GraphModel>,
    ) -> Result<Version> {
        let mut load_options = options.load.clone().unwrap_or_else(|| LoadOptions {
            version: None,
            display_version: None,
            ..state.options.clone()
        });
        let next = state.last_version.checked_add(1).filter(|v| *v <= i64::MAX as u64);
        let number = match load_options.version.or(next) {
            Some(number) if number > state.last_version => number,
            Some(number) => {
                return Err(err!(
                    InvalidArgument,
                    "version {number} is not above the last one, {}",
                    state.last_version
                ));
            }
            None => return Err(err!(LimitExceeded, "version numbers are used up")),
        };
        load_options.version = Some(number);
        let model = load(&load_options, serving.info.path.as_deref())?;
        if !options.allow_signature_change {
            same_signature(&serving.model.signature(), &model.signature())?;
        }
        state.last_version = number;
        state.options = load_options;
        Ok(Version::new(&self.name, model))
    }

    pub(super) fn stats(&self) -> ModelStats {
        let serving = self.serving.load().as_ref().map(|v| v.info.version);
        let versions: Vec<VersionStats> =
            self.history.lock().iter().map(|c| c.snapshot(serving == Some(c.version()))).collect();
        ModelStats { name: self.name.clone(), versions }
    }
}

/// Refuses a new version that callers of the old one could not use.
fn same_signature(old: &Signature, new: &Signature) -> Result<()> {
    let shapes = |s: &Signature| {
        let names = |specs: &[crate::model::TensorSpec]| {
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
