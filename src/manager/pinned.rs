//! One version as a model, whatever serves: behind pinned handles, snapshots and leases.

use super::slot::Slot;
use super::version::Version;
use crate::error::Result;
use crate::model::{
    Buffers, Ctx, Done, Features, Insight, Model, ModelInfo, ModelMemory, Prediction, Receipt,
    Reply, Request, Signature, Written,
};
use crate::tensor::Tensor;
use std::sync::Arc;

/// Answers with one version for as long as it is held. Deadlines are kept as by the name.
pub(super) struct Pinned {
    pub slot: Arc<Slot>,
    pub version: Arc<Version>,
}

impl Pinned {
    /// Whether a request may go straight to the version.
    fn is_plain(&self, ctx: &Ctx) -> bool {
        ctx.deadline.is_none()
            && !self.version.parts.is_foreign()
            && self.slot.cell.with(|state| state.live.policies.deadline.is_none())
    }

    /// The version behind policies of this process, in time.
    fn asked(&self, ctx: &Ctx) -> Arc<dyn Model> {
        let version = match self.version.parts.is_foreign() {
            true => self.slot.own(&self.version),
            false => self.version.clone(),
        };
        self.slot.in_time(version, ctx)
    }

    /// See [`super::ModelHandle::expected_ns`].
    pub(super) fn expected_ns(&self, rows: usize) -> Option<u64> {
        self.is_plain(&Ctx::default()).then(|| self.version.expected_ns(rows)).flatten()
    }
}

impl Model for Pinned {
    fn signature(&self) -> Arc<Signature> {
        self.version.signature()
    }

    fn info(&self) -> ModelInfo {
        self.version.info().clone()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        ctx.receipt = Receipt::default();
        if self.is_plain(ctx) {
            return self.version.call(request, ctx);
        }
        self.slot.named(self.asked(ctx).call(request, ctx))
    }

    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        ctx.receipt = Receipt::default();
        if !self.version.parts.is_foreign() {
            return self.asked(&ctx).submit(request, ctx, done);
        }
        // Making policies tries models: not on the caller's thread.
        crate::executor::spawn(move || self.asked(&ctx).submit(request, ctx, done));
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.version.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.version.estimated_ns(rows)
    }

    fn insight(&self) -> Option<Arc<Insight>> {
        self.version.insight()
    }

    fn memory(&self) -> ModelMemory {
        self.version.core.model.memory()
    }

    fn call_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &mut Ctx,
    ) -> Result<Written> {
        if !self.is_plain(ctx) {
            return self.call(request, ctx)?.write(out);
        }
        ctx.receipt = Receipt::default();
        self.version.call_into(request, out, ctx)
    }

    fn call_row(&self, row: &[f32], ctx: &mut Ctx) -> Result<Prediction> {
        if self.is_plain(ctx) {
            return self.version.call_row(row, ctx);
        }
        let features = Features::F32 { data: row, rows: 1, width: row.len() };
        self.call(&Request::Row(features), ctx)?.into_row()
    }
}
