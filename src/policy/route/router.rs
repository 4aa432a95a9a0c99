//! The route: one stable arm, canaries beside it, and who goes where.

use super::arm::{Arm, ArmState, Counts, Outcome};
use super::gate::Seen;
use super::mirror::{Answered, Mirror};
use super::promote::{Driver, OnDecision, PromotionOptions, PromotionReport};
use super::report::{AbReport, ArmReport};
use super::shadow::{ShadowOptions, ShadowReport};
use super::split::{KeyHash, STABLE, Sequence, Split, percent, units};
use crate::error::{Error, ErrorKind, Result, ensure, err};
use crate::model::{
    Ctx, Done, FallbackReason, Features, Model, ModelInfo, Reply, Request, Route, Signature,
    contain,
};
use crate::tensor::Tensor;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
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
#[derive(Debug, Clone)]
#[non_exhaustive]
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

impl Default for RouterOptions {
    fn default() -> Self {
        RouterOptions { canary_errors: CanaryErrors::FallBack, salt: None, compare: None }
    }
}

/// A model that divides its requests between a stable model and canaries.
///
/// A request with a key (`Ctx::key`) goes the same way always, for as long as the weights allow;
/// one without a key goes by a sequence that hits the weights exactly. `receipt.route` says which
/// kind of arm answered.
pub struct Router {
    name: Arc<str>,
    /// Stable, then the canaries.
    arms: Vec<ArmState>,
    table: ArcSwap<Split>,
    keys: KeyHash,
    sequence: Sequence,
    canary_errors: CanaryErrors,
    promotion: Option<Driver>,
    /// Of the stable model when the route was made, for when it cannot be found.
    signature: Arc<Signature>,
    info: ModelInfo,
}

/// What comes after a canary.
enum Next {
    Answer(Result<Reply>),
    FallBack(Error),
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

    /// Gives the canary `arm` another weight from now on, at stable's expense or for its good.
    ///
    /// # Errors
    /// `NotFound` when there is no such canary; `InvalidArgument` when the weight is not from 0
    /// to 100, or more than the other canaries leave.
    pub fn set_weight(&self, arm: &str, percent: f64) -> Result<()> {
        self.set_weights(&[(arm, percent)])
    }

    /// Gives several canaries other weights in one step: no request sees some without the others.
    ///
    /// # Errors
    /// As [`Router::set_weight`]; nothing was changed then.
    pub fn set_weights(&self, weights: &[(&str, f64)]) -> Result<()> {
        let mut wanted = Vec::with_capacity(weights.len());
        for (arm, percent) in weights {
            wanted.push((self.canary(arm)?, units(*percent)?));
        }
        let change = || self.change(|split| split.with(&wanted));
        match &self.promotion {
            Some(driver) if wanted.iter().any(|(arm, _)| *arm == driver.arm) => driver.stop(change),
            _ => change(),
        }
    }

    /// The arms and their weights in percent, stable first.
    pub fn weights(&self) -> Vec<(Arc<str>, f64)> {
        let split = self.table.load();
        let arms = self.arms.iter().enumerate();
        arms.map(|(i, arm)| (arm.name.clone(), percent(split.held(i)))).collect()
    }

    /// The arm that requests with this key go to now.
    pub fn arm_of(&self, key: &str) -> Arc<str> {
        let index = self.table.load().arm_at(self.keys.point(key));
        self.arms.get(index).map_or_else(|| self.name.clone(), |arm| arm.name.clone())
    }

    /// The arms side by side.
    pub fn report(&self) -> AbReport {
        let split = self.table.load();
        let (mut all, mut compared) = (Counts::default(), (0, 0.0));
        let mut arms = Vec::with_capacity(self.arms.len());
        for (i, arm) in self.arms.iter().enumerate() {
            let (counts, comparison) = (arm.counts(), comparison(arm));
            all.merge(&counts);
            compared = (compared.0 + comparison.0, compared.1 + comparison.1);
            let percent = percent(split.held(i));
            arms.push(ArmReport::new(&arm.name, percent, &counts, comparison));
        }
        let all = ArmReport::new("all", 100.0, &all, compared);
        AbReport { route: self.name.to_string(), arms, all }
    }

    /// How a canary's answers compare with stable's, where that is asked for. In the report the
    /// primary is the canary, and the candidate is stable.
    pub fn comparison(&self, arm: &str) -> Option<ShadowReport> {
        let arm = self.arms.iter().find(|state| &*state.name == arm)?;
        arm.mirror.as_deref().map(ShadowReport::of)
    }

    /// How the promotion stands, where there is one.
    pub fn promotion(&self) -> Option<PromotionReport> {
        let driver = self.promotion.as_ref()?;
        Some(driver.report(&self.arms.get(driver.arm)?.name))
    }

    /// Takes a look at the promotion without a request: for a step's minimum duration, when
    /// requests are few.
    pub fn tick(&self) {
        if let Some(driver) = &self.promotion {
            self.evaluate(driver, true);
        }
    }

    fn canary(&self, name: &str) -> Result<usize> {
        let index = self.arms.iter().position(|arm| &*arm.name == name);
        index
            .filter(|i| *i != STABLE)
            .ok_or_else(|| err!(NotFound, "route '{}' has no canary named '{name}'", self.name))
    }

    fn change(&self, change: impl Fn(&Split) -> Result<Split>) -> Result<()> {
        loop {
            let current = self.table.load_full();
            let next = Arc::new(change(&current)?);
            let before = self.table.compare_and_swap(&current, next);
            if Arc::ptr_eq(&before, &current) {
                return Ok(());
            }
        }
    }

    fn evaluate(&self, driver: &Driver, wait: bool) {
        let (Some(stable), Some(canary)) = (self.arms.first(), self.arms.get(driver.arm)) else {
            return;
        };
        let seen = || {
            let (compared, disagreement) = comparison(canary);
            let (canary, stable) = (canary.counts(), stable.counts());
            Seen { canary, stable, compared, disagreement }
        };
        driver.evaluate(wait, seen, |percent| {
            // Other canaries keep what they have; at the end nothing is left for them.
            let applied = units(percent).and_then(|wanted| {
                self.change(|split| {
                    let room = split.held(STABLE) + split.held(driver.arm);
                    let others = (1..self.arms.len()).filter(|arm| *arm != driver.arm);
                    match percent >= 100.0 {
                        true => {
                            let none = others.map(|arm| (arm, 0));
                            split.with(&none.chain([(driver.arm, wanted)]).collect::<Vec<_>>())
                        }
                        false => split.with(&[(driver.arm, wanted.min(room))]),
                    }
                })
            });
            if let Err(error) = applied {
                tracing::error!(route = %self.name, %error, "a weight could not be set");
            }
        });
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
        let resolve = self.arm(index).map(|arm| arm.resolve.clone())?;
        // That it cannot be found is no fault of the request, whatever it is called.
        contain(|| resolve()).map_err(|e| match e.kind() {
            kind if super::arm::is_clients(kind) => Error::new(ErrorKind::NotReady, e.message()),
            _ => e,
        })
    }

    /// What follows from stable's answer.
    fn after_stable(&self, result: &Result<Reply>, began: Instant) {
        if let Some(stable) = self.arms.first() {
            stable.record(&Outcome::of(result, began.elapsed()));
        }
    }

    /// What follows from a canary's answer. `ctx` is the request's; its receipt says `canary` if
    /// that is who answered.
    fn after_canary(
        &self,
        index: usize,
        result: Result<Reply>,
        began: Instant,
        ctx: &mut Ctx,
    ) -> Next {
        match result {
            Err(e)
                if self.canary_errors == CanaryErrors::FallBack
                    && e.kind() != ErrorKind::Cancelled
                    && ctx.check().is_ok() =>
            {
                Next::FallBack(e)
            }
            result => {
                if result.is_ok() {
                    ctx.receipt.route = Route::Canary;
                }
                self.record_canary(index, &Outcome::of(&result, began.elapsed()));
                Next::Answer(result)
            }
        }
    }

    /// What follows from stable's answer to a request that a canary failed.
    fn after_fallback(&self, index: usize, failure: Error, result: &Result<Reply>, ctx: &mut Ctx) {
        let outcome = match result {
            Ok(_) => Outcome::FellBack,
            Err(e) if super::arm::is_clients(e.kind()) => Outcome::Refused,
            Err(_) => Outcome::Failed,
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
        ctx: Ctx,
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
                Next::Answer(result) => {
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
                Next::FallBack(failure) => {
                    let model = match router.resolve(STABLE) {
                        Ok(model) => model,
                        Err(e) => {
                            let (mut ctx, result) = (again, Err(e));
                            router.after_fallback(index, failure, &result, &mut ctx);
                            return done.call(result, ctx);
                        }
                    };
                    let then = Done::new(move |result, mut ctx| {
                        router.after_fallback(index, failure, &result, &mut ctx);
                        done.call(result, ctx);
                    });
                    model.submit(kept, again, then);
                }
            }
        });
        match self.resolve(index) {
            // A panic here drops the request, which `then` hears of as an error.
            Ok(model) => {
                let _ = contain(|| {
                    model.submit(request, ctx, then);
                    Ok(())
                });
            }
            Err(e) => then.call(Err(e), ctx),
        }
    }
}

/// Requests of an arm compared with stable, and how many disagreed.
fn comparison(arm: &ArmState) -> (u64, f64) {
    let found = arm.mirror.as_deref().map(|mirror| &mirror.found);
    found.map_or((0, 0.0), |f| (f.compared.load(Relaxed), f.disagreement()))
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
            self.after_stable(&result, began);
            return result;
        }
        let receipt = ctx.receipt.clone();
        let wanted = self.mirror(index).filter(|mirror| mirror.wants(ctx));
        let model = self.resolve(index);
        let result = model.and_then(|model| contain(|| model.call(request, ctx)));
        match self.after_canary(index, result, began, ctx) {
            Next::Answer(result) => {
                if let (Some(mirror), Ok(reply)) = (wanted, &result)
                    && let Some(place) = mirror.reserve(request)
                {
                    place.fill(request, Answered::new(reply, ctx, began.elapsed()));
                }
                result
            }
            Next::FallBack(failure) => {
                ctx.receipt = receipt;
                let result = self.resolve(STABLE).and_then(|model| model.call(request, ctx));
                self.after_fallback(index, failure, &result, ctx);
                result
            }
        }
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        let index = self.pick(&ctx);
        if index != STABLE {
            return self.submit_canary(index, request, ctx, done);
        }
        let began = Instant::now();
        let router = self.clone();
        let then = Done::new(move |result, ctx| {
            router.after_stable(&result, began);
            done.call(result, ctx);
        });
        match self.resolve(STABLE) {
            Ok(model) => model.submit(request, ctx, then),
            Err(e) => then.call(Err(e), ctx),
        }
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.resolve(STABLE)?.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.resolve(STABLE).map_or(0, |model| model.estimated_ns(rows))
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
