//! One deadline over waiting and running.

pub(in crate::policy) mod enforce;
#[cfg(test)]
pub(in crate::policy) mod testing;
#[cfg(test)]
mod tests;
mod timer;

use crate::error::Result;
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature};
use crate::tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Below this estimate a model with a deadline runs in the calling thread. The hand-over to
/// another thread and back takes a good part of it.
pub(in crate::policy) const INLINE_BELOW: Duration = Duration::from_micros(50);

/// Options of [`Deadline`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeadlineOptions {
    /// The time for requests that come without a deadline. Default: none, they may take for
    /// ever.
    pub default: Option<Duration>,
    /// A blocking call of a model that is known to need less than this runs in the calling
    /// thread, which cannot leave before it ends. Others run elsewhere, on a copy of the rows.
    /// Default: 50 µs.
    pub inline_below: Duration,
    /// Whether to leave a stuck model at the deadline. Off where the wrapped model does so
    /// itself: a [`Fallback`](super::fallback::Fallback) leaves its choices one by one, and may
    /// still answer with a constant when the deadline has passed. Default: on.
    pub enforce: bool,
}

impl Default for DeadlineOptions {
    fn default() -> Self {
        DeadlineOptions { default: None, inline_below: INLINE_BELOW, enforce: true }
    }
}

/// Gives requests a deadline and holds the model to it: every caller has its answer, or
/// `DeadlineExceeded`, when the deadline passes, even if the model is stuck. What is stuck keeps
/// its thread and its place until it ends; [`Admit`](super::admit::Admit) bounds how many.
///
/// A completion that the deadline calls runs on a thread that all deadlines of the process share.
pub struct Deadline {
    inner: Arc<dyn Model>,
    options: DeadlineOptions,
}

impl Deadline {
    /// A deadline over `inner`.
    pub fn new(inner: Arc<dyn Model>, options: DeadlineOptions) -> Deadline {
        Deadline { inner, options }
    }

    /// The deadline of a request: the caller's, or the default from now.
    fn of(&self, ctx: &Ctx) -> Option<Instant> {
        let by_default = || self.options.default.and_then(|d| Instant::now().checked_add(d));
        ctx.deadline.or_else(by_default)
    }
}

impl Model for Deadline {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        // Given back afterwards: a default must not become the deadline of the caller's next use.
        let given = ctx.deadline;
        ctx.deadline = self.of(ctx);
        let result = if self.options.enforce {
            enforce::call(&self.inner, request, ctx, self.options.inline_below)
        } else {
            self.inner.call(request, ctx)
        };
        ctx.deadline = given;
        result
    }

    fn submit(self: Arc<Self>, request: Request<'static>, mut ctx: Ctx, done: Done) {
        ctx.deadline = self.of(&ctx);
        if self.options.enforce {
            enforce::submit(self.inner.clone(), request, ctx, done);
        } else {
            self.inner.clone().submit(request, ctx, done);
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.inner.estimated_ns(rows)
    }
}

impl std::fmt::Debug for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadline").field("options", &self.options).finish_non_exhaustive()
    }
}
