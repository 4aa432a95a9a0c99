//! What accompanies a request: deadline, priority, cancellation; and the receipt of its answer.

use super::turn::Turn;
use crate::error::{ErrorKind, Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Cancels a request from elsewhere. Clones cancel the same request.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks for the request to end. One that still waits is answered `Cancelled`; a running one
    /// ends at its next step.
    pub fn cancel(&self) {
        // Pairs with the load in `is_cancelled`; nothing else is published by it.
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// Which version a request means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Target {
    /// Whatever serves now (routes apply).
    #[default]
    Serving,
    /// This version (no route applies).
    Version(u64),
    /// The version that this label points to now (no route applies).
    Label(Arc<str>),
}

/// Which way an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Route {
    /// From the version that serves, or the one that was asked for.
    #[default]
    Stable,
    /// From a canary.
    Canary,
    /// From a fallback: [`Receipt::fallback`] says why.
    Fallback,
}

impl Route {
    /// `stable`, `canary` or `fallback`.
    pub fn name(self) -> &'static str {
        match self {
            Route::Stable => "stable",
            Route::Canary => "canary",
            Route::Fallback => "fallback",
        }
    }
}

/// What the response cache had to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CacheUse {
    /// Nothing: there is none, or it was passed by.
    #[default]
    Off,
    /// Not found; the model ran, and the answer is kept now.
    Miss,
    /// All of it was found.
    Hit,
    /// Some rows of the batch were found.
    Partial,
    /// Another caller was computing the same; its answer was shared.
    Shared,
}

impl CacheUse {
    /// `off`, `miss`, `hit`, `partial` or `shared`.
    pub fn name(self) -> &'static str {
        match self {
            CacheUse::Off => "off",
            CacheUse::Miss => "miss",
            CacheUse::Hit => "hit",
            CacheUse::Partial => "partial",
            CacheUse::Shared => "shared",
        }
    }
}

/// Why a fallback answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackReason {
    /// What the first choice failed with.
    pub kind: ErrorKind,
    /// Its message.
    pub message: String,
    /// Who answered instead: `version 7`, `model small`, `constant`.
    pub by: Arc<str>,
}

/// How an answer came about.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Receipt {
    /// The model that answered; `None` for a model without a name.
    pub model: Option<Arc<str>>,
    /// The version that answered.
    pub version: u64,
    /// SHA-256 of that version's file, in hexadecimal.
    pub digest: Option<Arc<str>>,
    /// Which way the answer came.
    pub route: Route,
    /// What the cache had to do with it.
    pub cache: CacheUse,
    /// Rows of the batch that the request ran in, the rows of others included; 0 where no model
    /// ran.
    pub batch_rows: u32,
    /// Time spent waiting for a turn.
    pub queue: Duration,
    /// Time the model ran (the whole batch's).
    pub run: Duration,
    /// Why a fallback answered, where one did.
    pub fallback: Option<Box<FallbackReason>>,
}

/// Accompanies one request through the policies.
#[derive(Debug, Clone, Default)]
pub struct Ctx {
    /// When the answer is of no use any more: one deadline for waiting and running.
    pub deadline: Option<Instant>,
    /// Higher ones are taken from queues first; 0 is normal.
    pub priority: i8,
    /// What sticky routing goes by (a user's or session's id).
    pub key: Option<Arc<str>>,
    /// Which version is meant.
    pub target: Target,
    /// Cancels the request.
    pub cancel: Option<CancelToken>,
    /// Neither look into the response cache nor keep the answer there.
    pub no_cache: bool,
    /// How the answer came about, written on the way.
    pub receipt: Receipt,
    /// The request is a fallback's already: no further fallback is entered for it.
    #[doc(hidden)]
    pub in_fallback: bool,
    /// When what happened, as far as somebody looked.
    #[doc(hidden)]
    pub moments: Moments,
    /// Told when the request queues and when it runs, where somebody wants to know.
    #[doc(hidden)]
    pub turn: Option<Arc<Turn>>,
}

/// Readings of the clock that the parts of one request share. A reading takes longer than all
/// else that a manager does to a cheap request, so that none is made twice: a run begins when the
/// version was asked, and a request ends when its run did.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    /// When the version was asked.
    arrived: Option<Instant>,
    /// When the run that comes next begins: for the model, which takes it.
    began: Option<Instant>,
    /// When the last run ended.
    ended: Option<Instant>,
}

impl Ctx {
    /// A context whose deadline is `timeout` from now (none when that is beyond the clock).
    pub fn within(timeout: Duration) -> Ctx {
        Ctx { deadline: Instant::now().checked_add(timeout), ..Ctx::default() }
    }

    /// Whether the request may end before its answer is there.
    pub(super) fn may_end(&self) -> bool {
        self.deadline.is_some() || self.cancel.is_some()
    }

    /// Fails when the request was cancelled or its deadline has passed.
    ///
    /// # Errors
    /// `Cancelled` or `DeadlineExceeded`.
    pub fn check(&self) -> Result<()> {
        if let Some(cancel) = &self.cancel {
            ensure!(!cancel.is_cancelled(), Cancelled, "the caller cancelled the request");
        }
        if let Some(deadline) = self.deadline {
            ensure!(
                Instant::now() < deadline,
                DeadlineExceeded,
                "the deadline passed before the answer was there"
            );
        }
        Ok(())
    }

    /// Notes that a version was asked at this moment.
    pub(crate) fn arrive(&mut self, at: Instant) {
        self.moments = Moments { arrived: Some(at), ..Moments::default() };
    }

    /// Forgets the moments: the version has answered.
    pub(crate) fn leave(&mut self) {
        self.moments = Moments::default();
    }

    /// When the version was asked; now, where nobody noted it.
    pub(crate) fn arrived(&self) -> Instant {
        self.moments.arrived.unwrap_or_else(Instant::now)
    }

    /// When the last run ended, where it said so.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.moments.ended
    }

    /// The moment at which a run begins.
    pub(crate) fn begin_run(&mut self) -> Instant {
        self.moments.began.take().unwrap_or_else(Instant::now)
    }

    /// Ends a run, or an answer without one, that began at `began`; how long it took.
    pub(crate) fn end_run(&mut self, began: Instant) -> Duration {
        let now = Instant::now();
        self.moments.ended = Some(now);
        now.saturating_duration_since(began)
    }

    /// Runs `run`, which begins at `began`; how long that took.
    pub(crate) fn time_run<R>(
        &mut self,
        began: Instant,
        run: impl FnOnce(&mut Ctx) -> R,
    ) -> (R, Duration) {
        (self.moments.began, self.moments.ended) = (Some(began), None);
        let result = run(self);
        self.moments.began = None;
        let ended = self.moments.ended.unwrap_or_else(Instant::now);
        (result, ended.saturating_duration_since(began))
    }

    /// The time left; `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }
}
