//! A model's canary: the route to it, and what comes of its promotion.

use super::events::EventKind;
use super::policies::{Another, CanaryRule, References};
use super::slot::{Serving, Slot, State};
use crate::error::Result;
use crate::executor;
use crate::model::Target;
use crate::policy::route::{Arm, Decision, Router, Verdict};
use crate::process;
use crate::sync::OnceLock;
use std::sync::{Arc, Weak};

/// The versions that a promotion compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Compared {
    candidate: u64,
    stable: u64,
}

impl Compared {
    /// Those of this moment; `None` where they are not two versions of one model.
    fn of(state: &State, candidate: &Another) -> Option<Compared> {
        let candidate = match candidate {
            Another::Version(version) => *version,
            Another::Label(label) => *state.labels.get(label)?,
            Another::Model(_) => return None,
        };
        let stable = match &state.serving {
            Serving::Version(version) => version.number(),
            Serving::Parked(origin) => origin.version,
            Serving::Nobody => return None,
        };
        Some(Compared { candidate, stable })
    }
}

/// Carries out what a promotion decides.
pub(super) struct Promoter {
    slot: Weak<Slot>,
    /// Set as soon as there is one; it holds this.
    router: OnceLock<Weak<Router>>,
    candidate: Another,
    /// As the promotion began; `None` for another model, which cannot become a version.
    compared: Option<Compared>,
}

/// The route to a canary. Where the same rule is at work on the same candidate, that goes on with
/// the weights that were set and the decisions that were made: in a forked child as a copy, for
/// locks and counts are the parent's.
pub(super) fn route(
    rule: &CanaryRule,
    slot: &Slot,
    references: References,
) -> Result<(Arc<Router>, Option<Arc<Promoter>>)> {
    let state = slot.cell.full();
    let (live, now) = (&state.live, Compared::of(&state, &rule.to));
    let promoter = live.promoter.as_ref();
    let same = live.policies.canary.as_ref() == Some(rule)
        && promoter.is_none_or(|p| p.compared.map(|c| c.candidate) == now.map(|c| c.candidate));
    let earlier = live.router.as_ref().filter(|_| same);
    let candidate = slot.finder(&rule.to)?;
    let there = candidate();
    // A canary that was promoted may have gone since, as any version that served.
    let may_be_gone = earlier.is_some_and(|router| router.is_handed_over());
    if references == References::Checked && !may_be_gone {
        there?;
    }
    if let Some(router) = earlier
        && state.top_generation == process::generation()
    {
        return Ok((router.clone(), promoter.cloned()));
    }
    let name = rule.to.to_string();
    let arm = Arm::new(&name, candidate, rule.percent);
    let stable = Arm::new("stable", slot.find_target(Target::Serving), 0.0);
    let mut router = Router::new(&slot.name, stable, vec![arm], rule.options.clone())?;
    let mut made = None;
    if let Some(options) = &rule.promotion {
        let compared = if same { promoter.and_then(|p| p.compared) } else { now };
        let promoter = Arc::new(Promoter {
            slot: slot.me.clone(),
            router: OnceLock::new(),
            candidate: rule.to.clone(),
            compared,
        });
        let hook = promoter.clone();
        let hook = Arc::new(move |decision: &Decision| hook.decided(decision));
        router = router.with_promotion(&name, options.clone(), hook)?;
        made = Some(promoter);
    }
    if let Some(parents) = earlier {
        router = router.resumed(parents);
    }
    let router = Arc::new(router);
    if let Some(promoter) = &made {
        let _ = promoter.router.set(Arc::downgrade(&router));
        if router.is_to_serve() {
            // Decided by the parent, whose thread for it is not here.
            let promoter = promoter.clone();
            executor::spawn(move || promoter.promote());
        }
    }
    Ok((router, made))
}

impl Promoter {
    fn decided(&self, decision: &Decision) {
        let verdict = decision.verdict;
        self.tell(verdict.name(), decision.reason.clone());
        match verdict {
            Verdict::Promote => self.promote(),
            Verdict::Advance => self.look(),
            Verdict::Continue | Verdict::RollBack => {}
        }
    }

    /// Lets the candidate serve, if what was compared is still what is asked. On a thread of the
    /// executor: a load of this name may be under way.
    fn promote(&self) {
        let (Some(slot), Some(router)) = (self.slot.upgrade(), self.router()) else { return };
        let Some(compared) = self.compared else { return };
        // Until this is done nobody else lets a version serve or sets policies.
        let change = slot.change();
        let state = slot.cell.full();
        let at_work = state.live.router.as_ref().is_some_and(|now| Arc::ptr_eq(now, &router));
        let hindrance = if !at_work {
            Some("other policies were set meanwhile".to_string())
        } else if let Some(moved) = self.moved(&state) {
            Some(moved)
        } else if !state.versions.contains_key(&compared.candidate) {
            // Looked at here, as no version goes while this holds the lock.
            Some(slot.no_version(&state, compared.candidate).to_string())
        } else if !router.hand_over() {
            Some("its weight was set by hand meanwhile".to_string())
        } else {
            slot.activate(compared.candidate).err().map(|e| e.to_string())
        };
        drop(change);
        if let Some(reason) = hindrance
            && router.give_up()
        {
            self.tell(STOP, reason);
        }
    }

    /// Gives the promotion up where something else is asked by now than what it compares.
    fn look(&self) {
        let (Some(slot), Some(router)) = (self.slot.upgrade(), self.router()) else { return };
        let moved = slot.cell.with(|state| self.moved(state));
        if let Some(reason) = moved
            && router.give_up()
        {
            self.tell(STOP, reason);
        }
    }

    /// What has changed since the promotion began.
    fn moved(&self, state: &State) -> Option<String> {
        let compared = self.compared?;
        let Some(now) = Compared::of(state, &self.candidate) else {
            return Some(format!("there is no {} any more", self.candidate));
        };
        if now.candidate != compared.candidate {
            let (old, new) = (compared.candidate, now.candidate);
            return Some(format!("{} means version {new} now, not {old}", self.candidate));
        }
        let (old, new) = (compared.stable, now.stable);
        (old != new)
            .then(|| format!("version {new} serves now, not {old}, which it is compared with"))
    }

    fn router(&self) -> Option<Arc<Router>> {
        self.router.get()?.upgrade()
    }

    fn tell(&self, verdict: &str, reason: String) {
        if let Some(slot) = self.slot.upgrade() {
            let version = self.compared.map_or(0, |compared| compared.candidate);
            let kind = EventKind::Traffic { verdict: verdict.to_string(), reason };
            slot.events.send(&slot.name, version, kind);
        }
    }
}

/// The verdict of an event that tells of a promotion that was given up.
pub(super) const STOP: &str = "stop";

impl Slot {
    /// A label points elsewhere: a promotion of what it pointed to has nothing left to promote.
    pub(super) fn label_moved(&self, label: &str) {
        let promoter = self.cell.with(|state| state.live.promoter.clone());
        if let Some(promoter) = promoter
            && matches!(&promoter.candidate, Another::Label(of) if **of == *label)
        {
            promoter.look();
        }
    }
}
