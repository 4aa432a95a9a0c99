//! Admission: bounded waiting, refusal at the door.

#[cfg(test)]
mod tests;

use super::Load;
use crate::error::{Result, bail, ensure, err};
use crate::model::{Ctx, Done, Features, Model, ModelInfo, Reply, Request, Signature};
use crate::tensor::Tensor;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Options of [`Admit`].
#[derive(Debug, Clone, PartialEq)]
pub struct AdmitOptions {
    /// Most requests inside at once, those that wait and those that run together; at least 1.
    /// One that its caller has left stays inside until the model is done with it. Default: 1024.
    pub max_in_flight: usize,
    /// Whether to refuse a request whose deadline would pass before its turn came. Default: on.
    pub shed_on_predicted_wait: bool,
    /// Time that must be left over beside the predicted wait and run. Default: none.
    pub margin: Duration,
}

impl Default for AdmitOptions {
    fn default() -> Self {
        AdmitOptions { max_in_flight: 1024, shed_on_predicted_wait: true, margin: Duration::ZERO }
    }
}

/// Refuses with `Overloaded`, at once, what could not be answered in time: requests beyond a
/// number inside, and requests whose deadline would pass while they wait.
///
/// The prediction is made from what a version did lately. A request that finds a free lane is
/// never refused by it, so that a prediction gone wrong is put right by the next run.
pub struct Admit {
    inner: Arc<dyn Model>,
    options: AdmitOptions,
    load: Arc<Load>,
    lanes: usize,
    in_flight: Arc<AtomicUsize>,
    shed: AtomicU64,
}

/// A place inside; left when dropped, however the request ended.
struct Place<C: Deref<Target = AtomicUsize>>(C);

impl<C: Deref<Target = AtomicUsize>> Drop for Place<C> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Admit {
    /// Admission before `inner`, which runs `lanes` requests (or batches) side by side and keeps
    /// `load`.
    ///
    /// # Errors
    /// `InvalidArgument` when `max_in_flight` or `lanes` is 0.
    pub fn new(
        inner: Arc<dyn Model>,
        options: AdmitOptions,
        load: Arc<Load>,
        lanes: usize,
    ) -> Result<Admit> {
        ensure!(
            options.max_in_flight > 0,
            InvalidArgument,
            "max_in_flight is 0: no request could enter; give at least 1"
        );
        ensure!(lanes > 0, InvalidArgument, "lanes is 0: no request could run; give at least 1");
        let in_flight = Arc::default();
        Ok(Admit { inner, options, load, lanes, in_flight, shed: AtomicU64::new(0) })
    }

    /// Requests inside now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Requests refused so far.
    pub fn shed_total(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// A place for the request, counted in `in_flight`.
    fn enter<C: Deref<Target = AtomicUsize>>(&self, in_flight: C, ctx: &Ctx) -> Result<Place<C>> {
        ctx.check()?;
        self.predict(ctx).and_then(|()| self.take(in_flight)).inspect_err(|_| {
            self.shed.fetch_add(1, Relaxed);
        })
    }

    fn predict(&self, ctx: &Ctx) -> Result<()> {
        let Some(remaining) = ctx.remaining() else { return Ok(()) };
        let wait = self.load.expected_wait(self.lanes);
        if !self.options.shed_on_predicted_wait || wait.is_zero() {
            return Ok(());
        }
        let run = self.load.per_request();
        let margin = self.options.margin;
        if wait.saturating_add(run).saturating_add(margin) > remaining {
            bail!(
                Overloaded,
                "a wait of {wait:.1?} and a run of {run:.1?} are expected (margin {margin:.1?}), \
                 and the deadline leaves {remaining:.1?}: retry later, allow more time, or run \
                 more lanes (now {})",
                self.lanes
            );
        }
        Ok(())
    }

    fn take<C: Deref<Target = AtomicUsize>>(&self, in_flight: C) -> Result<Place<C>> {
        let max = self.options.max_in_flight;
        let next = |n: usize| (n < max).then(|| n.saturating_add(1));
        // Relaxed: a number, which publishes nothing.
        match in_flight.fetch_update(Relaxed, Relaxed, next) {
            Ok(_) => Ok(Place(in_flight)),
            Err(n) => Err(err!(
                Overloaded,
                "{n} requests wait or run already (max_in_flight {max}), expected wait {:.1?}: \
                 retry later or raise max_in_flight",
                self.load.expected_wait(self.lanes)
            )),
        }
    }
}

impl Model for Admit {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let _place = self.enter(&*self.in_flight, ctx)?;
        self.inner.call(request, ctx)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        match self.enter(self.in_flight.clone(), &ctx) {
            Ok(place) => {
                let done = Done::new(move |result, ctx| {
                    // Before the caller knows: its next request finds the place free.
                    drop(place);
                    done.call(result, ctx);
                });
                self.inner.clone().submit(request, ctx, done);
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

impl std::fmt::Debug for Admit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admit")
            .field("options", &self.options)
            .field("lanes", &self.lanes)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
