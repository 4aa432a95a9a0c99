//! The serving version of a slot as a model: below the policies of a name, above its versions.

use super::slot::Slot;
use super::version::Version;
use crate::error::{Result, err};
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature};
use crate::tensor::Tensor;
use std::sync::{Arc, Weak};

/// Answers with whatever version serves at the moment of the request. Holds the slot weakly: the
/// slot holds the policies that hold this.
pub(super) struct Follow(pub Weak<Slot>);

impl Follow {
    fn version(&self) -> Result<Arc<Version>> {
        self.0.upgrade().ok_or_else(|| err!(NotFound, "the model was unloaded"))?.current()
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
        self.version()?.call(request, ctx)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        match self.version() {
            Ok(version) => version.submit(request, ctx, done),
            Err(e) => done.call(Err(e), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.version()?.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.version().map_or(0, |v| v.estimated_ns(rows))
    }
}
