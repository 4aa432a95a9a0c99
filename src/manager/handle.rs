//! Handles on a named model.

use super::pinned::Pinned;
use super::slot::Slot;
use super::stats::ModelStats;
use super::version::Version;
use crate::error::Result;
use crate::model::{
    Buffers, Ctx, Done, Features, Model, ModelInfo, Prediction, Predictions, Reply, Request,
    Signature, Written,
};
use crate::tensor::Value;
use std::sync::Arc;

/// A handle bound to a model's name. It answers with whatever version serves at the moment of
/// the call, or, pinned, always with one version. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct ModelHandle {
    slot: Arc<Slot>,
    pinned: Option<Arc<Pinned>>,
}

impl ModelHandle {
    pub(super) fn following(slot: Arc<Slot>) -> ModelHandle {
        ModelHandle { slot, pinned: None }
    }

    pub(super) fn pinned(slot: Arc<Slot>, version: Arc<Version>) -> ModelHandle {
        let pinned = Arc::new(Pinned { slot: slot.clone(), version });
        ModelHandle { slot, pinned: Some(pinned) }
    }

    /// Answers a request in any form: by whatever serves now, by the version or label that
    /// `ctx.target` names, or by the pinned version; through the policies of the model.
    ///
    /// # Errors
    /// As [`Model::call`]; `NotFound` for a version or label that is not there, or after unload.
    pub fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        match &self.pinned {
            Some(pinned) => pinned.call(request, ctx),
            None => self.slot.call(request, ctx),
        }
    }

    /// As [`ModelHandle::call`], on another thread: returns at once, `done` is called exactly
    /// once. Never runs a model on the calling thread.
    pub fn submit(&self, request: Request<'static>, ctx: Ctx, done: Done) {
        self.model().submit(request, ctx, done);
    }

    /// What this handle asks, as a model: policies of the host can wrap it.
    pub fn model(&self) -> Arc<dyn Model> {
        match &self.pinned {
            Some(pinned) => pinned.clone(),
            None => self.slot.clone(),
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.slot.name()
    }

    /// Whether this handle keeps to one version.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    fn version_now(&self) -> Result<Arc<Version>> {
        match &self.pinned {
            Some(pinned) => Ok(pinned.version.clone()),
            None => self.slot.current(),
        }
    }

    /// A lease on the version that answers now: it stays loaded as long as the lease is kept.
    ///
    /// # Errors
    /// `NotFound` after the model was unloaded (a pinned handle keeps working).
    pub fn current(&self) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(Pinned { slot: self.slot.clone(), version: self.version_now()? }))
    }

    /// A handle that keeps answering with the version serving now, through reloads and unload.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn pin(&self) -> Result<ModelHandle> {
        Ok(ModelHandle::pinned(self.slot.clone(), self.version_now()?))
    }

    /// What is known of the version that answers.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn info(&self) -> Result<ModelInfo> {
        Ok(self.version_now()?.info().clone())
    }

    /// How the version that answers is shown to people: its free text, else its number.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn display_version(&self) -> Result<String> {
        let version = self.version_now()?;
        let info = version.info();
        Ok(info.display_version.clone().unwrap_or_else(|| info.version.to_string()))
    }

    /// Counts and latencies: of all versions, or of the pinned one.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn stats(&self) -> Result<ModelStats> {
        let all = self.slot.stats();
        match self.pinned.as_deref() {
            None => Ok(all),
            Some(Pinned { version, .. }) => {
                let number = version.counts().version();
                let serving = all.versions.iter().any(|v| v.version == number && v.serving);
                Ok(ModelStats {
                    name: all.name,
                    versions: vec![version.counts().snapshot(serving)],
                })
            }
        }
    }

    /// The number of the version that answers.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn version(&self) -> Result<u64> {
        Ok(self.version_now()?.info().version)
    }

    /// The signature of the version that answers.
    ///
    /// # Errors
    /// As [`ModelHandle::current`].
    pub fn signature(&self) -> Result<Arc<Signature>> {
        Ok(self.version_now()?.info().signature.clone())
    }

    /// See [`Model::predict_row`].
    ///
    /// # Errors
    /// As [`Model::predict_row`]; `NotFound` after unload.
    pub fn predict_row(&self, row: &[f32]) -> Result<Prediction> {
        match &self.pinned {
            Some(pinned) => pinned.predict_row(row),
            None => self.slot.predict_row(row),
        }
    }

    /// See [`Model::predict`].
    ///
    /// # Errors
    /// As [`Model::predict`]; `NotFound` after unload.
    pub fn predict(&self, row: Features<'_>) -> Result<Prediction> {
        match &self.pinned {
            Some(pinned) => pinned.predict(row),
            None => self.slot.predict(row),
        }
    }

    /// See [`Model::predict_batch`].
    ///
    /// # Errors
    /// As [`Model::predict_batch`]; `NotFound` after unload.
    pub fn predict_batch(&self, rows: Features<'_>) -> Result<Predictions> {
        match &self.pinned {
            Some(pinned) => pinned.predict_batch(rows),
            None => self.slot.predict_batch(rows),
        }
    }

    /// See [`Model::call_into`].
    ///
    /// # Errors
    /// As [`Model::call_into`]; `NotFound` as [`ModelHandle::call`].
    pub fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        match &self.pinned {
            Some(pinned) => pinned.call_into(request, out, ctx),
            None => self.slot.call_into(request, out, ctx),
        }
    }

    /// See [`Model::predict_into`].
    ///
    /// # Errors
    /// As [`Model::predict_into`]; `NotFound` after unload.
    pub fn predict_into(&self, rows: Features<'_>, out: &mut Buffers<'_>) -> Result<Written> {
        match &self.pinned {
            Some(pinned) => pinned.predict_into(rows, out),
            None => self.slot.predict_into(rows, out),
        }
    }

    /// See [`Model::run`].
    ///
    /// # Errors
    /// As [`Model::run`]; `NotFound` after unload.
    pub fn run(
        &self,
        inputs: Vec<(String, Value)>,
        outputs: &[&str],
    ) -> Result<Vec<(String, Value)>> {
        match &self.pinned {
            Some(pinned) => pinned.run(inputs, outputs),
            None => self.slot.run(inputs, outputs),
        }
    }

    /// The signature of the version that answers, where it can be told at once; `None` when
    /// [`ModelHandle::signature`] would have to load a version first, or fails.
    pub fn ready_signature(&self) -> Option<Arc<Signature>> {
        match &self.pinned {
            Some(pinned) => Some(pinned.version.info().signature.clone()),
            None => self.slot.ready_signature(),
        }
    }

    /// Most bytes of a request (`RequestLimits::request_bytes`) that any version takes which this
    /// handle can ask. For hosts that copy what they are given and have to bound the copy.
    pub fn max_request_bytes(&self) -> u64 {
        match &self.pinned {
            Some(pinned) => pinned.version.core.max_request_bytes(),
            None => self.slot.max_request_bytes(),
        }
    }

    /// As [`ModelHandle::estimated_ns`] for a call that does nothing but run the model; `None`
    /// when it may wait: behind policies, for a version to be loaded again, or for its error.
    pub fn expected_ns(&self, rows: usize) -> Option<u64> {
        match &self.pinned {
            Some(pinned) => pinned.expected_ns(rows),
            None => self.slot.expected_ns(rows),
        }
    }

    /// See [`Model::estimated_ns`]; 0 after unload.
    pub fn estimated_ns(&self, rows: usize) -> u64 {
        match &self.pinned {
            Some(pinned) => pinned.estimated_ns(rows),
            None => self.slot.estimated_ns(rows),
        }
    }
}

impl std::fmt::Debug for ModelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelHandle")
            .field("name", &self.name())
            .field("version", &self.version().ok())
            .field("pinned", &self.is_pinned())
            .finish()
    }
}
