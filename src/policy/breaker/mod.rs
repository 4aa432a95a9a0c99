//! Circuit breaker: a version that fails or is slow is left alone for a while, and then tried
//! with a few calls.

mod core;
mod options;
#[cfg(test)]
mod tests;

pub use self::options::{BreakerEvent, BreakerOptions, BreakerSnapshot, BreakerState};

use self::core::{Cause, Change, Circuit, Counts, Permit, Standing};
use super::deadline::enforce;
use crate::error::{Error, ErrorKind, Result, err};
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature, contain};
use crate::tensor::Tensor;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Stops calling a version that fails: while its circuit is open, requests are answered
/// `NotReady` at once, and nothing runs.
///
/// What the version did counts, what the caller did does not: see [`BreakerOptions`] for the
/// rules. A submitted request with a deadline is reported as failed when that passes, so that a
/// stuck version is noticed before it answers.
pub struct Breaker {
    inner: Arc<dyn Model>,
    guard: Arc<Guard>,
}

/// The circuit, and how calls are judged.
struct Guard {
    circuit: Arc<Circuit>,
    options: BreakerOptions,
    clock: Clock,
    /// A moving average of what successful calls took, in nanoseconds; 0 before the first.
    typical: AtomicU64,
    listener: Option<Listener>,
}

type Listener = Box<dyn Fn(&BreakerEvent) + Send + Sync>;

enum Clock {
    Since(Instant),
    #[cfg(test)]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The time of `moment`, or of now where nobody looked.
    fn at(&self, moment: Option<Instant>) -> u64 {
        match self {
            Clock::Since(epoch) => {
                let moment = moment.unwrap_or_else(Instant::now);
                nanos(moment.saturating_duration_since(*epoch))
            }
            #[cfg(test)]
            Clock::Manual(now) => now.load(Relaxed),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is known of a call as it begins.
struct Began {
    at: u64,
    deadline: Option<Instant>,
    /// The time that its deadline left.
    allotted: Option<u64>,
    /// What the model needs for it by its own estimate.
    estimate: u64,
}

impl Breaker {
    /// A circuit breaker before `inner`.
    ///
    /// # Errors
    /// `InvalidArgument` naming an option that cannot be.
    pub fn new(inner: Arc<dyn Model>, options: BreakerOptions) -> Result<Breaker> {
        Breaker::with_clock(inner, options, Clock::Since(Instant::now()))
    }

    fn with_clock(inner: Arc<dyn Model>, options: BreakerOptions, clock: Clock) -> Result<Breaker> {
        let circuit = Arc::new(Circuit::new(options.rules()?));
        let typical = AtomicU64::new(0);
        let guard = Arc::new(Guard { circuit, options, clock, typical, listener: None });
        Ok(Breaker { inner, guard })
    }

    /// The same breaker, telling `listener` of every change of state, on the thread of the
    /// request that brought it about. It must not block. Threads may overtake one another:
    /// [`BreakerEvent::sequence`] tells the order.
    #[must_use]
    pub fn on_change(mut self, listener: impl Fn(&BreakerEvent) + Send + Sync + 'static) -> Self {
        // Before the breaker is shared there is no other owner.
        if let Some(guard) = Arc::get_mut(&mut self.guard) {
            guard.listener = Some(Box::new(listener));
        }
        self
    }

    /// What the circuit does with calls now.
    pub fn state(&self) -> BreakerState {
        self.snapshot().state
    }

    /// Where the circuit stands.
    pub fn snapshot(&self) -> BreakerSnapshot {
        BreakerSnapshot::of(&self.guard.circuit.standing(self.guard.clock.at(None)))
    }
}

impl Guard {
    /// Leave to call, unless the circuit refuses.
    fn enter<C: Deref<Target = Circuit>>(
        &self,
        circuit: C,
        ctx: &Ctx,
        estimate: u64,
    ) -> Result<(Permit<C>, Began)> {
        ctx.check()?;
        let at = self.clock.at(Some(ctx.arrived()));
        let (leave, change) = Circuit::admit(circuit, at);
        self.tell(change);
        let permit = leave.map_err(|standing| self.refusal(&standing))?;
        let allotted = ctx.remaining().map(nanos);
        Ok((permit, Began { at, deadline: ctx.deadline, allotted, estimate }))
    }

    /// Reports how a call ended; what says nothing about the version only gives its place back.
    fn leave<C: Deref<Target = Circuit>>(
        &self,
        permit: Permit<C>,
        began: &Began,
        result: &Result<Reply>,
        ctx: &Ctx,
    ) {
        let now = self.clock.at(ctx.ended());
        // Waiting is for admission to bound: where the run's own time is known, that counts.
        let took = match nanos(ctx.receipt.run) {
            0 => now.saturating_sub(began.at),
            run => run,
        };
        let slow = self.options.slow_call.is_some_and(|limit| took >= nanos(limit));
        let failed = match result {
            Ok(_) => {
                self.note_typical(took);
                false
            }
            Err(error) => {
                if !self.is_the_versions(error.kind(), began) {
                    return;
                }
                true
            }
        };
        self.tell(permit.report(now, failed, slow));
    }

    fn note_typical(&self, took: u64) {
        let old = self.typical.load(Relaxed);
        let next = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.typical.store(next.max(1), Relaxed);
    }

    /// Whether an error speaks against the version, rather than of the caller or of the load.
    fn is_the_versions(&self, kind: ErrorKind, began: &Began) -> bool {
        match kind {
            ErrorKind::Execution
            | ErrorKind::Internal
            | ErrorKind::NotReady
            | ErrorKind::Io
            | ErrorKind::InvalidModel
            | ErrorKind::Unsupported
            | ErrorKind::PermissionDenied => true,
            ErrorKind::DeadlineExceeded => self.was_long_enough(began),
            // A policy above cancels what its deadline has left behind.
            ErrorKind::Cancelled => {
                began.deadline.is_some_and(|d| Instant::now() >= d) && self.was_long_enough(began)
            }
            ErrorKind::InvalidInput
            | ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::LimitExceeded
            | ErrorKind::Overloaded => false,
        }
    }

    /// Whether the deadline left what a call usually takes: a caller in too much of a hurry must
    /// not take the version from others.
    fn was_long_enough(&self, began: &Began) -> bool {
        let usual = self.typical.load(Relaxed).max(began.estimate);
        began.allotted.is_none_or(|allotted| allotted >= usual)
    }

    fn tell(&self, change: Option<Change>) {
        if let (Some(change), Some(listener)) = (change, &self.listener) {
            let event = BreakerEvent {
                from: change.from.into(),
                to: change.to.into(),
                sequence: change.sequence,
                reason: self.reason(change.cause, &change.opened_on),
            };
            // The host's function must not cost the request its answer.
            let _ = contain(|| {
                listener(&event);
                Ok(())
            });
        }
    }

    fn refusal(&self, standing: &Standing) -> Error {
        let reason = self.reason(standing.cause, &standing.counts);
        match standing.retry_in {
            0 => err!(
                NotReady,
                "circuit half open after {reason}: {} probes are under way, retry when they are \
                 back",
                self.options.probes
            ),
            ns => {
                // Rounded up: a retry after that time is not refused for the same reason.
                let seconds = (Duration::from_nanos(ns).as_secs_f64() * 10.0).ceil() / 10.0;
                err!(NotReady, "circuit open: {reason}; retry in {seconds:.1} s")
            }
        }
    }

    /// Why the circuit opened last.
    fn reason(&self, cause: Cause, counts: &Counts) -> String {
        let window = self.options.window.as_secs_f64();
        match cause {
            Cause::Failures => {
                format!("{} of {} calls failed in {window} s", counts.failures, counts.calls)
            }
            Cause::Slow => {
                let limit = self.options.slow_call.unwrap_or_default();
                let (slow, calls) = (counts.slow, counts.calls);
                format!("{slow} of {calls} calls took {limit:?} or longer in {window} s")
            }
            Cause::Probe => "a probe failed or was slow".to_string(),
            Cause::Unanswered => "no probe came back".to_string(),
        }
    }
}

impl Model for Breaker {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let estimate = self.inner.estimated_ns(request.rows());
        let (permit, began) = self.guard.enter(&*self.guard.circuit, ctx, estimate)?;
        let result = contain(|| self.inner.call(request, ctx));
        self.guard.leave(permit, &began, &result, ctx);
        result
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let estimate = self.inner.estimated_ns(request.rows());
        match self.guard.enter(self.guard.circuit.clone(), &ctx, estimate) {
            Ok((permit, began)) => {
                let guard = self.guard.clone();
                let done = Done::new(move |result, ctx| {
                    guard.leave(permit, &began, &result, &ctx);
                    done.call(result, ctx);
                });
                enforce::submit(self.inner.clone(), request, ctx, done);
            }
            Err(error) => done.call(Err(error), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.inner.estimated_ns(rows)
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker")
            .field("options", &self.guard.options)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
