//! Fallback chain: who answers when the first choice cannot.

mod choice;
mod constant;
mod fit;
#[cfg(test)]
mod tests;
mod trail;

pub use choice::{Choice, FallbackChoice, FallbackOptions};
pub use constant::{Constant, ConstantAnswer};

use super::deadline::enforce;
use crate::error::Result;
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature, contain};
use crate::tensor::Tensor;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use trail::Trail;

/// Asks other models, or answers with a constant, when the first choice fails: each at most
/// once, in order. The receipt says who answered and why. A fallback that has fallbacks of its
/// own is asked without them, so that no request runs in circles.
///
/// Every model is left at the deadline, stuck or not, as by
/// [`Deadline`](super::deadline::Deadline).
pub struct Fallback {
    primary: Arc<dyn Model>,
    choices: Vec<FallbackChoice>,
    options: FallbackOptions,
}

impl Fallback {
    /// `primary`, and what answers in its place, in order.
    ///
    /// # Errors
    /// `InvalidArgument` when a choice would follow on the caller's own fault (`InvalidInput`,
    /// `InvalidArgument`) or wish (`Cancelled`).
    pub fn new(
        primary: Arc<dyn Model>,
        choices: Vec<FallbackChoice>,
        options: FallbackOptions,
    ) -> Result<Fallback> {
        choices.iter().try_for_each(FallbackChoice::check)?;
        Ok(Fallback { primary, choices, options })
    }

    /// Until when the first choice may take.
    fn first_deadline(&self, ctx: &Ctx) -> Option<Instant> {
        let reserved =
            |d: Instant| d.checked_sub(self.options.reserve).unwrap_or_else(Instant::now);
        ctx.deadline.map(reserved)
    }

    fn passes_by(&self, ctx: &Ctx) -> bool {
        ctx.in_fallback || self.choices.is_empty()
    }

    /// Goes on after the first choice of a submitted request.
    fn go_on(self: Arc<Self>, mut trail: Trail, request: Request<'static>, done: Done) {
        match trail.step(&self.choices, &request) {
            ControlFlow::Break(result) => done.call(result, trail.into_ctx()),
            ControlFlow::Continue(ask) => {
                let ctx = trail.attempt();
                let model = ask.model.clone();
                let (chain, kept) = (self.clone(), request.clone());
                let done = Done::new(move |result, answered| {
                    match trail.settle(result, answered.receipt, ask) {
                        Some(reply) => done.call(Ok(reply), trail.into_ctx()),
                        None => chain.go_on(trail, kept, done),
                    }
                });
                enforce::submit(model, request, ctx, done);
            }
        }
    }
}

impl Model for Fallback {
    fn signature(&self) -> Arc<Signature> {
        self.primary.signature()
    }

    fn info(&self) -> ModelInfo {
        self.primary.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        if self.passes_by(ctx) {
            return enforce::call(&self.primary, request, ctx, self.options.inline_below);
        }
        let given = ctx.deadline;
        ctx.deadline = self.first_deadline(ctx);
        let ask = |model: &Arc<dyn Model>, ctx: &mut Ctx| {
            contain(|| enforce::call(model, request, ctx, self.options.inline_below))
        };
        let result = ask(&self.primary, ctx);
        ctx.deadline = given;
        let error = match result {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let mut trail = Trail::new(ctx.clone(), error);
        let result = loop {
            match trail.step(&self.choices, request) {
                ControlFlow::Break(result) => break result,
                ControlFlow::Continue(asked) => {
                    let mut attempt = trail.attempt();
                    let result = ask(&asked.model, &mut attempt);
                    if let Some(reply) = trail.settle(result, attempt.receipt, asked) {
                        break Ok(reply);
                    }
                }
            }
        };
        ctx.receipt = trail.into_ctx().receipt;
        result
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        if self.passes_by(&ctx) {
            return enforce::submit(self.primary.clone(), request, ctx, done);
        }
        let mut first = ctx.clone();
        first.deadline = self.first_deadline(&ctx);
        let primary = self.primary.clone();
        let kept = request.clone();
        let done = Done::new(move |result, answered| {
            // The caller's own context goes on: the one that came back may be an empty one.
            let ctx = Ctx { receipt: answered.receipt, ..ctx };
            match result {
                Ok(reply) => done.call(Ok(reply), ctx),
                Err(error) => self.go_on(Trail::new(ctx, error), kept, done),
            }
        });
        enforce::submit(primary, request, first, done);
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.primary.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.primary.estimated_ns(rows)
    }
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fallback")
            .field("choices", &self.choices)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
