//! What may answer in a model's place, and when.

use super::ConstantAnswer;
use crate::error::{ErrorKind, Result, ensure};
use crate::policy::{Resolve, deadline};
use std::sync::Arc;
use std::time::Duration;

/// Options of [`Fallback`](super::Fallback).
#[derive(Debug, Clone, PartialEq)]
pub struct FallbackOptions {
    /// Time kept for the fallbacks out of a request's deadline: the first choice is left that
    /// much earlier. Without any, a deadline that has passed can only be followed by a constant,
    /// which needs none. Default: none.
    pub reserve: Duration,
    /// As [`DeadlineOptions::inline_below`](deadline::DeadlineOptions::inline_below).
    /// Default: 50 µs.
    pub inline_below: Duration,
}

impl Default for FallbackOptions {
    fn default() -> Self {
        FallbackOptions { reserve: Duration::ZERO, inline_below: deadline::INLINE_BELOW }
    }
}

/// What answers.
#[derive(Clone)]
#[non_exhaustive]
pub enum Choice {
    /// Another version or model, found at the moment of the request.
    Model(Resolve),
    /// A constant.
    Constant(ConstantAnswer),
}

/// One choice of a chain.
#[derive(Clone)]
#[non_exhaustive]
pub struct FallbackChoice {
    /// How the receipt names it: `version 7`, `model small`, `constant`.
    pub by: Arc<str>,
    /// What answers.
    pub choice: Choice,
    /// The errors of the first choice on which it is asked. Default:
    /// [`FallbackChoice::DEFAULT_ON`].
    pub on: Vec<ErrorKind>,
}

impl FallbackChoice {
    /// Errors that speak against a version or of its load, and a deadline that passed.
    pub const DEFAULT_ON: [ErrorKind; 6] = [
        ErrorKind::Execution,
        ErrorKind::Internal,
        ErrorKind::DeadlineExceeded,
        ErrorKind::NotReady,
        ErrorKind::Overloaded,
        ErrorKind::Io,
    ];

    /// Errors of the caller's own doing: no fallback may hide them.
    pub(crate) const NEVER_ON: [ErrorKind; 3] =
        [ErrorKind::InvalidInput, ErrorKind::InvalidArgument, ErrorKind::Cancelled];

    /// The model that `resolve` finds, named `by` in the receipt.
    pub fn model(by: impl Into<Arc<str>>, resolve: Resolve) -> FallbackChoice {
        FallbackChoice::of(by.into(), Choice::Model(resolve))
    }

    /// A constant, named `constant` in the receipt.
    pub fn constant(answer: ConstantAnswer) -> FallbackChoice {
        FallbackChoice::of("constant".into(), Choice::Constant(answer))
    }

    fn of(by: Arc<str>, choice: Choice) -> FallbackChoice {
        FallbackChoice { by, choice, on: FallbackChoice::DEFAULT_ON.to_vec() }
    }

    /// The same choice, asked on these errors.
    #[must_use]
    pub fn with_on(mut self, on: &[ErrorKind]) -> FallbackChoice {
        self.on = on.to_vec();
        self
    }

    /// Refuses kinds that no fallback may hide from the caller.
    pub(super) fn check(&self) -> Result<()> {
        for kind in FallbackChoice::NEVER_ON {
            ensure!(
                !self.on.contains(&kind),
                InvalidArgument,
                "fallback '{}' on {kind}: that is the caller's doing, and the caller must see it",
                self.by
            );
        }
        Ok(())
    }
}

impl std::fmt::Debug for FallbackChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FallbackChoice")
            .field("by", &self.by)
            .field("on", &self.on)
            .finish_non_exhaustive()
    }
}
