//! A model whose runs are counted: between a version's policies and its plan.

use crate::error::Result;
use crate::metrics::VersionMetrics;
use crate::model::{Ctx, Features, Model, ModelInfo, ModelMemory, Reply, Request, Signature};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Counts each run of `inner`: rows and time. What a cache answers or a queue refuses is no run.
pub(super) struct Measured {
    pub inner: Arc<dyn Model>,
    pub metrics: Arc<VersionMetrics>,
}

impl Model for Measured {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let began = ctx.begin_run();
        let (result, took) = ctx.time_run(began, |ctx| self.inner.call(request, ctx));
        self.metrics.ran(request.rows(), took);
        result
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.inner.estimated_ns(rows)
    }

    fn memory(&self) -> ModelMemory {
        self.inner.memory()
    }
}
