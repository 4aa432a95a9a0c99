//! A version of a slot as a model: below the policies of a name, above its versions.

use super::find::Found;
use super::slot::Slot;
use super::version::Version;
use crate::error::{Result, err};
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature, Target};
use crate::tensor::Tensor;
use std::sync::{Arc, Weak};

/// Answers with whatever version its target means at the moment of the request. One that was
/// unloaded to make room is loaded first; submitted requests wait for that in one bounded list.
/// Holds the slot weakly: the slot holds the policies that hold this.
pub(super) struct Follow {
    pub slot: Weak<Slot>,
    pub target: Target,
}

impl Follow {
    /// The version that serves.
    pub(super) fn serving(slot: Weak<Slot>) -> Follow {
        Follow { slot, target: Target::Serving }
    }

    fn slot(&self) -> Result<Arc<Slot>> {
        self.slot.upgrade().ok_or_else(|| err!(NotFound, "the model was unloaded"))
    }

    fn version(&self) -> Result<Arc<Version>> {
        self.slot()?.version(&self.target)
    }
}

impl Model for Follow {
    fn signature(&self) -> Arc<Signature> {
        self.version().map_or_else(|_| Arc::default(), |v| v.signature())
    }

    fn info(&self) -> ModelInfo {
        self.version().map_or_else(|_| ModelInfo::unloaded(""), |v| v.info().clone())
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let slot = self.slot()?;
        let version = slot.version(&self.target).map_err(|e| slot.refused(e))?;
        version.call(request, ctx)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let slot = match self.slot() {
            Ok(slot) => slot,
            Err(e) => return done.call(Err(e), ctx),
        };
        match slot.find(&self.target) {
            Ok(Found::Ready(version)) => version.submit(request, ctx, done),
            Ok(Found::Parked(_)) => slot.submit_later(Some(&self.target), request, ctx, done),
            Err(e) => done.call(Err(slot.refused(e)), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.version()?.bind(features)
    }

    /// 0 while the version has to be loaded first: asking must not load it.
    fn estimated_ns(&self, rows: usize) -> u64 {
        match self.slot().and_then(|slot| slot.find(&self.target)) {
            Ok(Found::Ready(version)) => version.estimated_ns(rows),
            _ => 0,
        }
    }
}
