//! A model whose submitted requests take turns: below policies that do not queue themselves.

use crate::error::Result;
use crate::model::{Ctx, Done, Features, Model, ModelInfo, ModelMemory, Reply, Request, Signature};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Answers a blocking call in its caller's thread, and submitted requests by turns: the caller of
/// one holds no thread, so that nothing else would bound how many run.
pub(super) struct Laned {
    pub direct: Arc<dyn Model>,
    pub lane: Arc<dyn Model>,
}

impl Model for Laned {
    fn signature(&self) -> Arc<Signature> {
        self.direct.signature()
    }

    fn info(&self) -> ModelInfo {
        self.direct.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.direct.call(request, ctx)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        self.lane.clone().submit(request, ctx, done);
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.direct.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.direct.estimated_ns(rows)
    }

    fn memory(&self) -> ModelMemory {
        self.direct.memory()
    }
}
