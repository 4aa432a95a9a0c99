//! A promotion at work: when it looks, what it has decided, and how it ends.

use super::decision::{Decision, OnDecision, PromotionReport, PromotionState, Verdict};
use super::gate::Seen;
use super::promote::{Moment, Promotion, PromotionOptions};
use crate::error::Result;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

/// Decisions kept; of the older ones only those that changed something.
const KEPT: usize = 256;

/// A promotion of one arm of a route.
pub(super) struct Driver {
    pub(super) arm: usize,
    /// The number of requests of the canary at which the next look is due.
    due: AtomicU64,
    began: Instant,
    core: Mutex<Core>,
    /// The canary serves, and its arm has given its share back.
    over: AtomicBool,
    hook: OnDecision,
}

struct Core {
    promotion: Promotion,
    log: VecDeque<Decision>,
    /// Somebody has set the weight of the canary.
    by_hand: bool,
}

impl Driver {
    pub(super) fn new(arm: usize, options: PromotionOptions, hook: OnDecision) -> Result<Driver> {
        let promotion = Promotion::new(options)?;
        Ok(Driver {
            arm,
            due: AtomicU64::new(promotion.next_look()),
            began: Instant::now(),
            core: Mutex::new(Core { promotion, log: VecDeque::new(), by_hand: false }),
            over: AtomicBool::new(false),
            hook,
        })
    }

    pub(super) fn percent(&self) -> f64 {
        self.core.lock().promotion.percent()
    }

    /// Whether the canary's `count`-th request is one to look after.
    pub(super) fn is_due(&self, count: u64) -> bool {
        // Relaxed: a look that comes twice or a request later decides nothing else.
        count >= self.due.load(Relaxed)
    }

    /// Decides, and applies the decision before it returns. `wait`: also when another thread
    /// decides just now.
    pub(super) fn evaluate(
        &self,
        wait: bool,
        seen: impl FnOnce() -> Seen,
        apply: impl FnOnce(f64),
    ) {
        let core = if wait { Some(self.core.lock()) } else { self.core.try_lock() };
        let Some(mut core) = core else { return };
        let Core { promotion, log, .. } = &mut *core;
        let moment = Moment { since_start: self.began.elapsed(), at: SystemTime::now() };
        let Some(decision) = promotion.evaluate(&seen(), &moment) else { return };
        let changed = decision.verdict != Verdict::Continue;
        if changed {
            apply(decision.next_percent);
        }
        if log.len() >= KEPT {
            let idle = log.iter().position(|d| d.verdict == Verdict::Continue);
            log.remove(idle.unwrap_or(0));
        }
        log.push_back(decision.clone());
        self.due.store(promotion.next_look(), Relaxed);
        drop(core);
        if changed {
            tracing::info!(
                verdict = decision.verdict.name(),
                percent = decision.next_percent,
                reason = %decision.reason,
                "promotion"
            );
            // Whatever the host does then, no request waits for it.
            let hook = self.hook.clone();
            crate::executor::spawn(move || hook(&decision));
        }
    }

    /// Ends the promotion because `change` sets weights by hand; it is called in between two
    /// decisions.
    pub(super) fn set_by_hand(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut core = self.core.lock();
        change()?;
        core.by_hand = true;
        if core.promotion.state() == PromotionState::Running {
            core.promotion.stop();
        }
        self.due.store(core.promotion.next_look(), Relaxed);
        Ok(())
    }

    /// Whether the canary is to serve: it was promoted, and nobody set its weight since.
    pub(super) fn is_to_serve(&self) -> bool {
        self.is_open(&self.core.lock())
    }

    fn is_open(&self, core: &Core) -> bool {
        core.promotion.state() == PromotionState::Promoted && !core.by_hand && !self.is_over()
    }

    /// Whether the promotion has reached its end, and the canary serves.
    pub(super) fn is_over(&self) -> bool {
        // Relaxed: a flag on its own.
        self.over.load(Relaxed)
    }

    /// The canary serves from now on, if it is to; whether it is. `take_back` takes its share.
    pub(super) fn finish(&self, take_back: impl FnOnce()) -> bool {
        let core = self.core.lock();
        let open = self.is_open(&core);
        if open {
            take_back();
            self.over.store(true, Relaxed);
        }
        open
    }

    /// Gives the promotion up where it is under way, or promised and not carried out yet; whether
    /// it was. `take_back` takes the canary's share, which stays where it was set by hand.
    pub(super) fn give_up(&self, take_back: impl FnOnce()) -> bool {
        let mut core = self.core.lock();
        let open = match core.promotion.state() {
            PromotionState::Running => true,
            PromotionState::Promoted => !self.is_over(),
            PromotionState::RolledBack | PromotionState::Stopped => false,
        };
        if open {
            core.promotion.stop();
            self.due.store(core.promotion.next_look(), Relaxed);
            if !core.by_hand {
                take_back();
            }
        }
        open
    }

    /// Goes on where the parent of this forked process stood. The lock may be held by a thread
    /// that is not here: then a decision was being made that nobody knows, and none is made any
    /// more.
    pub(super) fn resume(&self, parents: &Driver) {
        let mut core = self.core.lock();
        match parents.core.try_lock() {
            Some(theirs) => {
                core.promotion = theirs.promotion.resumed();
                core.log.clone_from(&theirs.log);
                core.by_hand = theirs.by_hand;
            }
            None => core.promotion.stop(),
        }
        self.over.store(parents.is_over(), Relaxed);
        self.due.store(core.promotion.next_look(), Relaxed);
    }

    pub(super) fn report(&self, arm: &str) -> PromotionReport {
        let core = self.core.lock();
        let (step, steps) = core.promotion.steps();
        PromotionReport {
            arm: arm.to_string(),
            state: core.promotion.state(),
            step,
            steps: steps.to_vec(),
            decisions: core.log.iter().cloned().collect(),
        }
    }
}
