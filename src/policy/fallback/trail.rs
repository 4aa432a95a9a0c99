//! The way of one request along a chain: the rule of the chain, for calls and submissions alike.

use super::{Choice, FallbackChoice};
use crate::error::{Error, Result, err};
use crate::model::{Ctx, FallbackReason, Model, Receipt, Reply, Request, Route, Target};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A request whose first choice has failed.
pub(super) struct Trail {
    /// The caller's context, with the receipt of whoever answered last.
    ctx: Ctx,
    /// Why the first choice failed.
    error: Error,
    /// What else was tried, and why it failed.
    tried: Vec<(Arc<str>, Error)>,
    /// The choice to look at next.
    next: usize,
}

/// A model to ask, and how the receipt names it.
pub(super) struct Ask {
    pub model: Arc<dyn Model>,
    pub by: Arc<str>,
}

impl Trail {
    /// The way of a request of context `ctx` after its first choice failed with `error`.
    pub(super) fn new(ctx: Ctx, error: Error) -> Trail {
        Trail { ctx, error, tried: Vec::new(), next: 0 }
    }

    /// The next step: a model to ask, or what to tell the caller. Whether a choice is asked goes
    /// by the error of the first: that of another fallback says nothing about the request.
    pub(super) fn step(
        &mut self,
        choices: &[FallbackChoice],
        request: &Request<'_>,
    ) -> ControlFlow<Result<Reply>, Ask> {
        while let Some(choice) = choices.get(self.next) {
            self.next += 1;
            if !choice.on.contains(&self.error.kind()) {
                continue;
            }
            if self.ctx.cancel.as_ref().is_some_and(|c| c.is_cancelled()) {
                let error = err!(Cancelled, "the caller cancelled the request");
                return ControlFlow::Break(Err(error));
            }
            let by = choice.by.clone();
            match &choice.choice {
                Choice::Constant(constant) => match constant.answer(request) {
                    Ok(reply) => {
                        self.sign(Receipt::default(), by);
                        return ControlFlow::Break(Ok(reply));
                    }
                    Err(error) => self.tried.push((by, error)),
                },
                Choice::Model(_) if self.ctx.remaining() == Some(Duration::ZERO) => {
                    let none = "no time was left for it (FallbackOptions::reserve keeps some)";
                    self.tried.push((by, err!(DeadlineExceeded, "{none}")));
                }
                Choice::Model(resolve) => match resolve() {
                    Ok(model) => return ControlFlow::Continue(Ask { model, by }),
                    Err(error) => self.tried.push((by, error)),
                },
            }
        }
        ControlFlow::Break(Err(self.failure()))
    }

    /// A context for asking a fallback: the caller's, but no further fallback comes of it, and
    /// the version that the caller wanted of the first choice means nothing to another.
    pub(super) fn attempt(&self) -> Ctx {
        Ctx {
            // Before it is asked: a version counts which way its answers go.
            receipt: Receipt { route: Route::Fallback, ..Receipt::default() },
            target: Target::Serving,
            in_fallback: true,
            ..self.ctx.clone()
        }
    }

    /// Takes what a model answered: the reply, or nothing when it failed too.
    pub(super) fn settle(
        &mut self,
        result: Result<Reply>,
        mut receipt: Receipt,
        asked: Ask,
    ) -> Option<Reply> {
        let Ask { model, by } = asked;
        match result {
            Ok(reply) => {
                // Named here: whoever stands above knows only the name that was asked for.
                if receipt.model.is_none() {
                    receipt.model = model.info().name.map(Into::into);
                }
                self.sign(receipt, by);
                Some(reply)
            }
            Err(error) => {
                self.tried.push((by, error));
                None
            }
        }
    }

    /// The caller's context with the receipt of the answer.
    pub(super) fn into_ctx(self) -> Ctx {
        self.ctx
    }

    fn sign(&mut self, receipt: Receipt, by: Arc<str>) {
        let message = self.error.message().to_string();
        let reason = FallbackReason { kind: self.error.kind(), message, by };
        self.ctx.receipt =
            Receipt { route: Route::Fallback, fallback: Some(Box::new(reason)), ..receipt };
    }

    /// The first choice's error, with what else was tried.
    fn failure(&mut self) -> Error {
        let mut message = self.error.message().to_string();
        let mut lead = "; tried instead: ";
        for (by, error) in &self.tried {
            message.push_str(&format!("{lead}{by} ({}: {error})", error.kind()));
            lead = ", ";
        }
        let error = Error::new(self.error.kind(), message);
        match self.error.model() {
            Some(model) => error.with_model(model),
            None => error,
        }
    }
}
