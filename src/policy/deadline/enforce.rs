//! Holding a model to the deadline of one request, even a model that is stuck.

use super::timer;
use crate::error::{Error, Result, err};
use crate::model::{CancelToken, Ctx, Done, Model, Receipt, Reply, Request, contain};
use crate::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Answers by the deadline of `ctx`, in the calling thread. Without a deadline, or when the model
/// is known to need no more than `inline_below`, the model is called here; otherwise it runs
/// elsewhere, and the caller leaves at the deadline: the request is cancelled, and an answer that
/// comes later is dropped.
///
/// # Errors
/// `DeadlineExceeded`; what the model answers.
pub(in crate::policy) fn call(
    model: &Arc<dyn Model>,
    request: &Request<'_>,
    ctx: &mut Ctx,
    inline_below: Duration,
) -> Result<Reply> {
    let Some(deadline) = ctx.deadline else { return model.call(request, ctx) };
    ctx.check()?;
    if is_quick(model.estimated_ns(request.rows()), inline_below) {
        let result = model.call(request, ctx);
        return in_time(result, deadline);
    }
    let request = request.clone().into_owned()?;
    let arrived = Instant::now();
    let (inner, cancel) = cancellable(ctx.clone());
    let slot = Arc::new(Slot::default());
    let theirs = slot.clone();
    let done = Done::new(move |result, ctx| theirs.put(in_time(result, deadline), ctx.receipt));
    pass_on(model.clone(), request, inner, done);
    match slot.take_by(deadline) {
        Some((result, receipt)) => {
            ctx.receipt = receipt;
            result
        }
        None => {
            if let Some(cancel) = cancel {
                cancel.cancel();
            }
            Err(given_up(deadline, arrived))
        }
    }
}

/// Submits to the model and sees to it that `done` is called by the deadline of `ctx`, once:
/// with the model's answer, or on the timer's thread with `DeadlineExceeded`.
pub(in crate::policy) fn submit(
    model: Arc<dyn Model>,
    request: Request<'static>,
    ctx: Ctx,
    done: Done,
) {
    let Some(deadline) = ctx.deadline else { return pass_on(model, request, ctx, done) };
    if let Err(error) = ctx.check() {
        return done.call(Err(error), ctx);
    }
    let arrived = Instant::now();
    let given = ctx.clone();
    let (inner, cancel) = cancellable(ctx);
    let race = Arc::new(Mutex::new(Some((done, given))));
    let timers = race.clone();
    let entry = timer::at(deadline, move || {
        let open = timers.lock().take();
        if let Some((done, ctx)) = open {
            if let Some(cancel) = cancel {
                cancel.cancel();
            }
            done.call(Err(given_up(deadline, arrived)), ctx);
        }
    });
    let done = Done::new(move |result, answered| {
        entry.disarm();
        let open = race.lock().take();
        if let Some((done, mut ctx)) = open {
            ctx.receipt = answered.receipt;
            done.call(in_time(result, deadline), ctx);
        }
    });
    pass_on(model, request, inner, done);
}

/// Whether a model that needs about `estimate` nanoseconds (0: unknown) may keep the caller.
fn is_quick(estimate: u64, inline_below: Duration) -> bool {
    estimate > 0 && Duration::from_nanos(estimate) < inline_below
}

/// A context that can be cancelled, and the token where the caller gave none. A token of the
/// caller's may belong to other requests too and is never set from here: the deadline in the
/// context ends the run just as well.
fn cancellable(mut ctx: Ctx) -> (Ctx, Option<CancelToken>) {
    let own = ctx.cancel.is_none().then(CancelToken::default);
    if own.is_some() {
        ctx.cancel.clone_from(&own);
    }
    (ctx, own)
}

/// A `submit` that panics drops its completion, which answers `Internal`.
fn pass_on(model: Arc<dyn Model>, request: Request<'static>, ctx: Ctx, done: Done) {
    let _ = contain(|| {
        model.submit(request, ctx, done);
        Ok(())
    });
}

/// An answer that came after the deadline is none.
fn in_time(result: Result<Reply>, deadline: Instant) -> Result<Reply> {
    let now = Instant::now();
    if result.is_ok() && now >= deadline {
        let late = now.saturating_duration_since(deadline);
        return Err(err!(DeadlineExceeded, "the answer came {late:.1?} after the deadline"));
    }
    result
}

fn given_up(deadline: Instant, arrived: Instant) -> Error {
    let given = deadline.saturating_duration_since(arrived);
    err!(
        DeadlineExceeded,
        "no answer within the {given:.1?} that the deadline left: the request was given up"
    )
}

/// Where a caller waits for the answer of another thread.
#[derive(Default)]
struct Slot {
    state: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
enum Waiting {
    #[default]
    Open,
    Filled(Box<(Result<Reply>, Receipt)>),
    /// The caller has left.
    Left,
}

impl Slot {
    fn put(&self, result: Result<Reply>, receipt: Receipt) {
        let filled = Waiting::Filled(Box::new((result, receipt)));
        let mut state = self.state.lock();
        if matches!(*state, Waiting::Open) {
            *state = filled;
            drop(state);
            self.filled.notify_one();
        }
    }

    fn take_by(&self, deadline: Instant) -> Option<(Result<Reply>, Receipt)> {
        let mut state = self.state.lock();
        loop {
            match std::mem::take(&mut *state) {
                Waiting::Filled(answer) => return Some(*answer),
                Waiting::Open | Waiting::Left => {}
            }
            if Instant::now() >= deadline {
                *state = Waiting::Left;
                return None;
            }
            (state, _) = self.filled.wait_until(state, deadline);
        }
    }
}
