//! The route: one stable arm, canaries beside it, and who goes where.

use super::arm::{Arm, ArmState, Outcome};
use super::decision::OnDecision;
use super::driver::Driver;
use super::mirror::{Answered, Mirror};
use super::promote::PromotionOptions;
use super::shadow::ShadowOptions;
use super::split::{KeyHash, STABLE, Sequence, Split, units};
use crate::error::{Error, ErrorKind, Result, ensure, err};
use crate::model::{
    Ctx, Done, FallbackReason, Features, Model, ModelInfo, Reply, Request, Route, Signature,
    contain,
};
use crate::policy::deadline::enforce;
use crate::tensor::Tensor;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// What happens to a request that a canary fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CanaryErrors {
    /// Stable answers it; the failure counts against the canary. A request that stable refuses
    /// too counts as refused. (Not when it was cancelled or its deadline has passed.)
    #[default]
    FallBack,
    /// The caller gets the error.
    Report,
}

/// How a route treats its canaries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouterOptions {
    /// What happens to a request that a canary fails; stable answers by default.
    pub canary_errors: CanaryErrors,
    /// Sets this split apart: routes with the same salt send a key to the same point. The route's
    /// name by default.
    pub salt: Option<Arc<str>>,
    /// Asks stable too, aside, for a fraction of what canaries answered, and compares. Off by
    /// default; [`Router::with_promotion`] turns it on for a fifth where disagreement matters.
    pub compare: Option<ShadowOptions>,
}

/// A model that divides its requests between a stable model and canaries.
///
/// A request with a key (`Ctx::key`) goes the same way always, for as long as the weights allow;
/// one without a key goes by a sequence that hits the weights exactly. `receipt.route` says which
/// kind of arm answered.
pub struct Router {
    pub(super) name: Arc<str>,
    /// Stable, then the canaries.
    pub(super) arms: Vec<ArmState>,
    pub(super) table: ArcSwap<Split>,
    pub(super) keys: KeyHash,
    sequence: Sequence,
    canary_errors: CanaryErrors,
    pub(super) promotion: Option<Driver>,
    /// Of the stable model when the route was made, for when it cannot be found.
    signature: Arc<Signature>,
    info: ModelInfo,
}

impl Router {
    /// A route named `name` between `stable` and `canaries`.
    ///
    /// # Errors
    /// `InvalidArgument` for weights that are not from 0 to 100 or exceed 100 together, and for
    /// names that occur twice; what `stable.resolve` fails with.
    pub fn new(
        name: &str,
        stable: Arm,
        canaries: Vec<Arm>,
        options: RouterOptions,
    ) -> Result<Router> {
        let model = (stable.resolve)()?;
        let mut weights = Vec::with_capacity(canaries.len());
        let mut arms = vec![ArmState::new(stable.name, stable.resolve.clone(), None)];
        for arm in canaries {
            ensure!(
                arms.iter().all(|known| known.name != arm.name),
                InvalidArgument,
                "two arms of route '{name}' are named '{}'",
                arm.name
            );
            let resolve = stable.resolve.clone();
            let compare = options.compare.clone();
            let mirror = compare.map(|options| Mirror::new(resolve, options)).transpose()?;
            weights.push((arms.len(), units(arm.percent)?));
            arms.push(ArmState::new(arm.name, arm.resolve, mirror));
        }
        let split = Split::new(weights.len()).with(&weights)?;
        Ok(Router {
            arms,
            table: ArcSwap::from_pointee(split),
            keys: KeyHash::new(options.salt.as_deref().unwrap_or(name)),
            sequence: Sequence::default(),
            canary_errors: options.canary_errors,
            promotion: None,
            signature: model.signature(),
            info: model.info(),
            name: name.into(),
        })
    }

    /// The same route, promoting the canary `arm` step by step or rolling it back. Its weight
    /// becomes that of the first step. `on_decision` hears of every decision that changes
    /// something.
    ///
    /// Looks are taken while requests come; [`Router::tick`] takes them in between. A weight set
    /// by hand ends the promotion.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range, or weights that do not fit; `NotFound` when
    /// there is no such canary.
    pub fn with_promotion(
        mut self,
        arm: &str,
        options: PromotionOptions,
        on_decision: OnDecision,
    ) -> Result<Router> {
        let index = self.canary(arm)?;
        let wants_comparison = options.max_disagreement.is_some();
        let driver = Driver::new(index, options, on_decision)?;
        let first = units(driver.percent())?;
        self.change(|split| split.with(&[(index, first)]))?;
        let stable = self.arms.first().map(|stable| stable.resolve.clone());
        if let (Some(state), Some(stable)) = (self.arms.get_mut(index), stable)
            && state.mirror.is_none()
            && wants_comparison
        {
            let options = ShadowOptions { fraction: 0.2, ..ShadowOptions::default() };
            state.mirror = Some(Mirror::new(stable, options)?);
        }
        self.promotion = Some(driver);
        Ok(self)
    }

    /// The route's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn pick(&self, ctx: &Ctx) -> usize {
        let point = match &ctx.key {
            Some(key) => self.keys.point(key),
            None => self.sequence.next(),
        };
        self.table.load().arm_at(point)
    }

    fn arm(&self, index: usize) -> Result<&ArmState> {
        self.arms.get(index).ok_or_else(|| err!(Internal, "a route without arm {index}"))
    }

    fn resolve(&self, index: usize) -> Result<Arc<dyn Model>> {
        let arm = self.arm(index)?;
        // That it cannot be found is no fault of the request, whatever it is called.
        contain(|| (arm.resolve)()).map_err(|e| match e.kind() {
            kind if super::arm::is_clients(kind) => Error::new(ErrorKind::NotReady, e.message()),
            _ => e,
        })
    }

    /// What follows from stable's answer.
    fn after_stable(&self, result: &Result<Reply>, began: Instant, deadline: Option<Instant>) {
        if let Some(stable) = self.arms.first() {
            stable.record(&Outcome::of(result, began, deadline));
        }
    }

    /// What follows from a canary's answer: that the caller gets it, or (the error) that stable is
    /// to answer.
    fn after_canary(
        &self,
        index: usize,
        result: Result<Reply>,
        began: Instant,
        ctx: &mut Ctx,
    ) -> Result<Result<Reply>> {
        match result {
            Err(e)
                if self.canary_errors == CanaryErrors::FallBack
                    && e.kind() != ErrorKind::Cancelled
                    && ctx.check().is_ok() =>
            {
                Err(e)
            }
            result => {
                // Again: a canary may have written a receipt of its own.
                ctx.receipt.route = Route::Canary;
                self.record_canary(index, &Outcome::of(&result, began, ctx.deadline));
                Ok(result)
            }
        }
    }

    /// What follows from stable's answer to a request that a canary failed.
    fn after_fallback(&self, lost: Lost, result: &Result<Reply>, ctx: &mut Ctx) {
        let Lost { index, failure, began, deadline } = lost;
        let outcome = match Outcome::of(result, began, deadline) {
            Outcome::Answered(..) => Outcome::FellBack,
            other => other,
        };
        self.record_canary(index, &outcome);
        if result.is_ok() {
            ctx.receipt.route = Route::Stable;
            let by = self.arms.first().map_or_else(|| self.name.clone(), |arm| arm.name.clone());
            let reason = FallbackReason { kind: failure.kind(), message: failure.to_string(), by };
            ctx.receipt.fallback = Some(Box::new(reason));
        }
    }

    fn record_canary(&self, index: usize, outcome: &Outcome) {
        let Some(arm) = self.arms.get(index) else { return };
        let count = arm.record(outcome);
        if let Some(driver) = &self.promotion
            && driver.arm == index
            && driver.is_due(count)
        {
            self.evaluate(driver, false);
        }
    }

    fn mirror(&self, index: usize) -> Option<&Arc<Mirror>> {
        self.arms.get(index)?.mirror.as_ref()
    }

    fn submit_canary(
        self: Arc<Self>,
        index: usize,
        request: Request<'static>,
        mut ctx: Ctx,
        done: Done,
    ) {
        let began = Instant::now();
        // For stable, should the canary fail: tensors are shared, not copied.
        let (kept, again) = (request.clone(), ctx.clone());
        let wanted = self.mirror(index).filter(|mirror| mirror.wants(&ctx)).cloned();
        let router = self.clone();
        let then = Done::new(move |result, mut ctx| {
            // A canary that dropped the request has dropped its context too.
            (ctx.deadline, ctx.cancel) = (again.deadline, again.cancel.clone());
            match router.after_canary(index, result, began, &mut ctx) {
                Ok(result) => {
                    let reply = result.as_ref().ok();
                    let mirrored = wanted.zip(reply).and_then(|(mirror, reply)| {
                        let place = mirror.reserve(&kept)?;
                        Some((place, Answered::new(reply, &ctx, began.elapsed())))
                    });
                    done.call(result, ctx);
                    if let Some((place, answered)) = mirrored {
                        place.fill(&kept, answered);
                    }
                }
                Err(failure) => {
                    let lost = Lost { index, failure, began, deadline: again.deadline };
                    let stable = router.resolve(STABLE);
                    let then = Done::new(move |result, mut ctx| {
                        router.after_fallback(lost, &result, &mut ctx);
                        done.call(result, ctx);
                    });
                    match stable {
                        Ok(model) => enforce::submit(model, kept, again, then),
                        Err(e) => then.call(Err(e), again),
                    }
                }
            }
        });
        ctx.receipt.route = Route::Canary;
        match self.resolve(index) {
            // A canary that never ends has lost the request at its deadline: counted then, and not
            // when it answers, if ever.
            Ok(model) => enforce::submit(model, request, ctx, then),
            Err(e) => then.call(Err(e), ctx),
        }
    }
}

/// A request that a canary failed, on its way to stable.
struct Lost {
    index: usize,
    failure: Error,
    /// When the canary was asked.
    began: Instant,
    deadline: Option<Instant>,
}

impl Drop for Router {
    fn drop(&mut self) {
        for mirror in self.arms.iter().filter_map(|arm| arm.mirror.as_ref()) {
            mirror.close();
        }
    }
}

impl Model for Router {
    fn signature(&self) -> Arc<Signature> {
        self.resolve(STABLE).map_or_else(|_| self.signature.clone(), |model| model.signature())
    }

    fn info(&self) -> ModelInfo {
        self.resolve(STABLE).map_or_else(|_| self.info.clone(), |model| model.info())
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let index = self.pick(ctx);
        let began = Instant::now();
        if index == STABLE {
            let result = self.resolve(STABLE).and_then(|model| model.call(request, ctx));
            self.after_stable(&result, began, ctx.deadline);
            return result;
        }
        let receipt = ctx.receipt.clone();
        // Before it is asked: its version counts which way its answers go.
        ctx.receipt.route = Route::Canary;
        let wanted = self.mirror(index).filter(|mirror| mirror.wants(ctx));
        let model = self.resolve(index);
        let result = model.and_then(|model| contain(|| model.call(request, ctx)));
        match self.after_canary(index, result, began, ctx) {
            Ok(result) => {
                if let (Some(mirror), Ok(reply)) = (wanted, &result)
                    && let Some(place) = mirror.reserve(request)
                {
                    place.fill(request, Answered::new(reply, ctx, began.elapsed()));
                }
                result
            }
            Err(failure) => {
                ctx.receipt = receipt;
                let result = self.resolve(STABLE).and_then(|model| model.call(request, ctx));
                let lost = Lost { index, failure, began, deadline: ctx.deadline };
                self.after_fallback(lost, &result, ctx);
                result
            }
        }
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let index = self.pick(&ctx);
        if index != STABLE {
            return self.submit_canary(index, request, ctx, done);
        }
        let (began, deadline) = (Instant::now(), ctx.deadline);
        let router = self.clone();
        let then = Done::new(move |result, ctx| {
            router.after_stable(&result, began, deadline);
            done.call(result, ctx);
        });
        match self.resolve(STABLE) {
            // As with a canary: what is compared must be counted alike.
            Ok(model) => enforce::submit(model, request, ctx, then),
            Err(e) => then.call(Err(e), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.resolve(STABLE)?.bind(features)
    }

    /// The longest of those that may be asked; unknown where it is of one of them. Who is picked
    /// is not known yet, and whoever goes by this may not be able to leave before the end.
    fn estimated_ns(&self, rows: usize) -> u64 {
        let split = self.table.load();
        let helps_out = self.canary_errors == CanaryErrors::FallBack;
        let mut longest = 0;
        for index in 0..self.arms.len() {
            let asked = split.held(index) > 0 || (index == STABLE && helps_out);
            if let (true, Ok(model)) = (asked, self.resolve(index)) {
                match model.estimated_ns(rows) {
                    0 => return 0,
                    ns => longest = longest.max(ns),
                }
            }
        }
        longest
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("name", &self.name)
            .field("weights", &self.weights())
            .finish()
    }
}
