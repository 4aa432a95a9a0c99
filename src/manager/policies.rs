//! Which policies stand around the versions of a name.

use super::events::EventKind;
use super::follow::Follow;
use super::laned::Laned;
use super::recent::DEFAULT_CAPACITY;
use super::slot::Slot;
use super::version::Core;
use crate::error::{ErrorKind, Result, ensure, err};
use crate::executor;
use crate::model::{Model, Target};
use crate::policy::admit::{Admit, AdmitOptions};
use crate::policy::batch::{Batch, BatchOptions};
use crate::policy::breaker::{Breaker, BreakerOptions};
use crate::policy::cache::{Cache, CacheOptions, CacheStore};
use crate::policy::deadline::{Deadline, DeadlineOptions};
use crate::policy::fallback::{
    Constant, ConstantAnswer, Fallback, FallbackChoice, FallbackOptions,
};
use crate::policy::route::{
    Arm, OnDecision, PromotionOptions, Router, RouterOptions, Shadow, ShadowOptions, Verdict,
};
use crate::policy::{Load, Resolve};
use crate::process;
use std::fmt;
use std::sync::{Arc, Weak};

/// Another version or model, found anew at each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Another {
    /// This version of the same model.
    Version(u64),
    /// The version of the same model that this label points to.
    Label(Arc<str>),
    /// The serving version of another model.
    Model(Arc<str>),
}

impl fmt::Display for Another {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Another::Version(version) => write!(f, "version {version}"),
            Another::Label(label) => write!(f, "label {label}"),
            Another::Model(name) => write!(f, "model {name}"),
        }
    }
}

/// Who answers when the first choice cannot.
#[derive(Debug, Clone)]
pub enum FallbackTo {
    /// Another version or model.
    Another(Another),
    /// A constant.
    Constant(Constant),
}

/// One choice of a fallback chain.
#[derive(Debug, Clone)]
pub struct FallbackRule {
    /// Who answers.
    pub to: FallbackTo,
    /// The errors on which it does; `None` means [`FallbackChoice::DEFAULT_ON`].
    pub on: Option<Vec<ErrorKind>>,
}

/// A canary: a candidate that answers part of the requests.
#[derive(Debug, Clone)]
pub struct CanaryRule {
    /// The candidate.
    pub to: Another,
    /// Its share of the requests, in percent. With a promotion, its first step counts.
    pub percent: f64,
    /// How requests are divided.
    pub options: RouterOptions,
    /// Promotes it step by step, or rolls it back; `None` leaves the share as it is.
    pub promotion: Option<PromotionOptions>,
}

/// A shadow: a candidate that is asked aside and only compared.
#[derive(Debug, Clone)]
pub struct ShadowRule {
    /// The candidate.
    pub to: Another,
    /// What is mirrored.
    pub options: ShadowOptions,
}

/// The policies of a model, in the order in which a request passes them. The default has none of
/// them: requests go straight to the serving version.
#[derive(Debug, Clone)]
pub struct Policies {
    /// A deadline for requests that come without one. (Deadlines that requests bring are kept in
    /// any case.)
    pub deadline: Option<DeadlineOptions>,
    /// Who answers when the model cannot, in order.
    pub fallback: Vec<FallbackRule>,
    /// How the fallback chain uses a deadline.
    pub fallback_options: FallbackOptions,
    /// A candidate that answers part of the requests.
    pub canary: Option<CanaryRule>,
    /// A candidate that is asked aside.
    pub shadow: Option<ShadowRule>,
    /// Keeps answers; shared by the versions of the model, each with entries of its own.
    pub cache: Option<CacheOptions>,
    /// Refuses at the door what could not be answered in time.
    pub admission: Option<AdmitOptions>,
    /// Stops asking a version that fails.
    pub breaker: Option<BreakerOptions>,
    /// Runs requests together that come while the model is busy.
    pub batching: Option<BatchOptions>,
    /// How many recent requests are kept for the gate of a reload (256); they stay in memory. 0
    /// keeps none.
    pub recent_inputs: usize,
}

impl Default for Policies {
    fn default() -> Self {
        Policies {
            deadline: None,
            fallback: Vec::new(),
            fallback_options: FallbackOptions::default(),
            canary: None,
            shadow: None,
            cache: None,
            admission: None,
            breaker: None,
            batching: None,
            recent_inputs: DEFAULT_CAPACITY,
        }
    }
}

/// The policies of a model at work.
#[derive(Clone, Default)]
pub(super) struct Live {
    pub policies: Arc<Policies>,
    /// Deadline → fallback → shadow → route, where any of them is configured.
    pub top: Option<Arc<dyn Model>>,
    pub router: Option<Arc<Router>>,
    pub shadow: Option<Arc<Shadow>>,
    pub store: Option<Arc<CacheStore>>,
}

/// The policies of one version at work.
#[derive(Clone)]
pub(super) struct Parts {
    /// Cache → admission → breaker → batching → plan, where any of them is configured.
    pub stack: Option<Arc<dyn Model>>,
    pub load: Arc<Load>,
    pub batch: Option<Arc<Batch>>,
    pub breaker: Option<Arc<Breaker>>,
    pub admit: Option<Arc<Admit>>,
    /// The process generation that their queues and counts belong to.
    pub generation: u64,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            stack: None,
            load: Arc::default(),
            batch: None,
            breaker: None,
            admit: None,
            generation: process::generation(),
        }
    }
}

impl Parts {
    /// Whether their queues and counts are those of the parent of this forked process.
    pub(super) fn is_foreign(&self) -> bool {
        self.generation != process::generation()
    }
}

impl Policies {
    /// Whether a policy names this version, so that it must stay.
    pub(super) fn names_version(&self, version: u64) -> bool {
        let named = |to: &Another| *to == Another::Version(version);
        self.canary.as_ref().is_some_and(|c| named(&c.to))
            || self.shadow.as_ref().is_some_and(|s| named(&s.to))
            || self
                .fallback
                .iter()
                .any(|f| matches!(&f.to, FallbackTo::Another(another) if named(another)))
    }

    /// Whether the policies above the versions cannot be made while the serving version is
    /// unloaded to make room: they look at its signature.
    pub(super) fn need_serving(&self) -> bool {
        let constant = |rule: &FallbackRule| matches!(rule.to, FallbackTo::Constant(_));
        self.canary.is_some() || self.fallback.iter().any(constant)
    }
}

/// Whether what policies refer to has to be there when they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// Somebody sets them, and may have mistyped a name.
    Checked,
    /// They were checked once, and may have gone since: then a request finds that out.
    Known,
}

impl Live {
    /// These policies, with what versions share and nothing above the versions yet.
    pub(super) fn below(policies: Arc<Policies>) -> Live {
        let store = policies.cache.clone().map(CacheStore::new);
        Live { policies, store, ..Live::default() }
    }

    /// The same with the policies above the versions of `slot`. Where [`Policies::need_serving`],
    /// the serving version is loaded.
    pub(super) fn with_top(self, slot: &Slot, references: References) -> Result<Live> {
        let mut live = self;
        let policies = live.policies.clone();
        let nothing = policies.deadline.is_none()
            && policies.fallback.is_empty()
            && policies.canary.is_none()
            && policies.shadow.is_none();
        if nothing {
            return Ok(live);
        }
        let mut top: Arc<dyn Model> = match &policies.canary {
            Some(canary) => {
                let router = Arc::new(route(canary, slot, references)?);
                live.router = Some(router.clone());
                router
            }
            None => Arc::new(Follow::serving(slot.me.clone())),
        };
        if let Some(rule) = &policies.shadow {
            let candidate = slot.resolve(&rule.to, references)?;
            let shadow = Arc::new(Shadow::new(top, candidate, rule.options.clone())?);
            let weak = slot.me.clone();
            let candidate_of = match &rule.to {
                Another::Model(name) => name.clone(),
                Another::Version(_) | Another::Label(_) => slot.name.clone(),
            };
            shadow.on_compared(move |version, differed| {
                if let Some(slot) = weak.upgrade() {
                    slot.metrics.version(&candidate_of, version).shadowed(differed);
                }
            });
            live.shadow = Some(shadow.clone());
            top = shadow;
        }
        let mut deadline = policies.deadline.clone().unwrap_or_default();
        if !policies.fallback.is_empty() {
            let choices = policies.fallback.iter().map(|rule| choice(rule, slot, references));
            let choices = choices.collect::<Result<Vec<_>>>()?;
            top = Arc::new(Fallback::new(top, choices, policies.fallback_options.clone())?);
            // The chain leaves each of its choices at the deadline by itself, and may answer with
            // a constant after it.
            deadline.enforce = false;
        }
        live.top = Some(Arc::new(Deadline::new(top, deadline)));
        Ok(live)
    }

    /// The policies of one version, made anew.
    pub(super) fn around(&self, core: &Core, slot: &Slot) -> Result<Parts> {
        let policies = &self.policies;
        let mut parts = Parts::default();
        let mut model = core.measured();
        if policies.batching.is_some() || policies.admission.is_some() {
            let options = policies.batching.clone().unwrap_or_default();
            let batch = Arc::new(Batch::new(model, options, parts.load.clone())?);
            parts.batch = Some(batch.clone());
            model = batch;
        } else if policies.breaker.is_some() || self.store.is_some() {
            // A slow model must not take the threads of others.
            let lane = Batch::new(model.clone(), BatchOptions::default(), parts.load.clone())?;
            model = Arc::new(Laned { direct: model, lane: Arc::new(lane) });
        }
        if let Some(options) = &policies.breaker {
            let (weak, version) = (slot.me.clone(), core.info.version);
            let breaker = Breaker::new(model, options.clone())?.on_change(move |event| {
                if let Some(slot) = weak.upgrade() {
                    let state = event.to.name().to_string();
                    let reason = event.reason.clone();
                    slot.events.send(&slot.name, version, EventKind::Circuit { state, reason });
                }
            });
            let breaker = Arc::new(breaker);
            parts.breaker = Some(breaker.clone());
            model = breaker;
        }
        if let Some(options) = &policies.admission {
            let lanes = parts.batch.as_ref().map_or(1, |batch| batch.concurrency());
            let load = parts.load.clone();
            let admit = Arc::new(Admit::new(model, options.clone(), load, lanes)?);
            parts.admit = Some(admit.clone());
            model = admit;
        }
        let any = parts.batch.is_some() || parts.breaker.is_some() || parts.admit.is_some();
        if let Some(store) = &self.store {
            parts.stack = Some(Arc::new(Cache::new(model, store.clone())));
        } else if any {
            parts.stack = Some(model);
        }
        Ok(parts)
    }
}

fn choice(rule: &FallbackRule, slot: &Slot, references: References) -> Result<FallbackChoice> {
    let choice = match &rule.to {
        FallbackTo::Another(another) => {
            FallbackChoice::model(another.to_string(), slot.resolve(another, references)?)
        }
        FallbackTo::Constant(constant) => {
            let signature = slot.current()?.signature();
            FallbackChoice::constant(ConstantAnswer::new(signature, constant.clone())?)
        }
    };
    Ok(match &rule.on {
        Some(kinds) => choice.with_on(kinds),
        None => choice,
    })
}

fn route(canary: &CanaryRule, slot: &Slot, references: References) -> Result<Router> {
    let candidate = slot.resolve(&canary.to, references)?;
    let name = canary.to.to_string();
    let arm = Arm::new(&name, candidate, canary.percent);
    let stable = Arm::new("stable", slot.target_resolve(Target::Serving), 0.0);
    let router = Router::new(&slot.name, stable, vec![arm], canary.options.clone())?;
    match &canary.promotion {
        None => Ok(router),
        Some(options) => {
            router.with_promotion(&name, options.clone(), on_decision(canary.to.clone(), slot))
        }
    }
}

/// Tells of decisions; one that promotes lets the candidate serve.
fn on_decision(candidate: Another, slot: &Slot) -> OnDecision {
    let weak: Weak<Slot> = slot.me.clone();
    Arc::new(move |decision| {
        let Some(slot) = weak.upgrade() else { return };
        let version = match &candidate {
            Another::Version(version) => Some(*version),
            Another::Label(label) => slot.labels().get(label).copied(),
            Another::Model(_) => None,
        };
        let verdict = decision.verdict.name().to_string();
        let reason = decision.reason.clone();
        let kind = EventKind::Traffic { verdict, reason };
        slot.events.send(&slot.name, version.unwrap_or_default(), kind);
        if let (Verdict::Promote, Some(version)) = (decision.verdict, version) {
            // A load of this name may be under way: not on the thread of a request.
            executor::spawn(move || {
                if let Err(e) = slot.serve(version) {
                    tracing::warn!(target: "modelserve::lifecycle", model = &*slot.name, version,
                        "a promoted canary cannot serve: {e}");
                }
            });
        }
    })
}

impl Slot {
    /// Finds another version or model at each request.
    fn resolve(&self, another: &Another, references: References) -> Result<Resolve> {
        let resolve: Resolve = match another {
            Another::Version(version) => self.target_resolve(Target::Version(*version)),
            Another::Label(label) => self.target_resolve(Target::Label(label.clone())),
            Another::Model(name) => {
                ensure!(
                    **name != *self.name,
                    InvalidArgument,
                    "a model cannot be its own fallback, canary or shadow: name a version"
                );
                let (registry, name) = (self.registry.clone(), name.clone());
                Arc::new(move || {
                    let find = || registry.upgrade()?.slots.load().get(&*name).cloned();
                    let slot = find().ok_or_else(|| {
                        err!(NotFound, "no such model is loaded").with_model(&name)
                    })?;
                    // Its version, not its policies: models that name each other run in no circle.
                    slot.resolved(&Target::Serving)
                })
            }
        };
        // In a forked child this also makes the policies of that model's versions anew: here, and
        // not in the thread of a request.
        let there = resolve();
        if references == References::Checked {
            there?;
        }
        Ok(resolve)
    }

    fn target_resolve(&self, target: Target) -> Resolve {
        let weak = self.me.clone();
        Arc::new(move || {
            let slot = weak.upgrade().ok_or_else(|| err!(NotFound, "the model was unloaded"))?;
            slot.resolved(&target)
        })
    }
}
