//! The operator's side of a route: weights, reports, the promotion's looks.

use super::arm::{ArmState, Counts};
use super::decision::PromotionReport;
use super::driver::Driver;
use super::gate::Seen;
use super::report::{AbReport, ArmReport};
use super::router::Router;
use super::shadow::ShadowReport;
use super::split::{STABLE, Split, percent, units};
use crate::error::{Result, err};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Router {
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
            Some(driver) if wanted.iter().any(|(arm, _)| *arm == driver.arm) => {
                driver.set_by_hand(change)
            }
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

    pub(super) fn canary(&self, name: &str) -> Result<usize> {
        let index = self.arms.iter().position(|arm| &*arm.name == name);
        index
            .filter(|i| *i != STABLE)
            .ok_or_else(|| err!(NotFound, "route '{}' has no canary named '{name}'", self.name))
    }

    pub(super) fn change(&self, change: impl Fn(&Split) -> Result<Split>) -> Result<()> {
        loop {
            let current = self.table.load_full();
            let next = Arc::new(change(&current)?);
            let before = self.table.compare_and_swap(&current, next);
            if Arc::ptr_eq(&before, &current) {
                return Ok(());
            }
        }
    }

    pub(super) fn evaluate(&self, driver: &Driver, wait: bool) {
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
}

/// Requests of an arm compared with stable, and how many disagreed.
fn comparison(arm: &ArmState) -> (u64, f64) {
    let found = arm.mirror.as_deref().map(|mirror| &mirror.found);
    found.map_or((0, 0.0), |f| (f.compared.load(Relaxed), f.disagreement()))
}
