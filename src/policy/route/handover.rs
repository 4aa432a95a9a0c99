//! How a promotion ends: the canary serves as stable, or it is given up.

use super::router::Router;
use super::split::Split;
use crate::error::Result;

impl Router {
    /// Asked by the host as it is about to let the promoted canary serve, that is, to make it what
    /// stable resolves to: whether it still may. The canary gives its share back to stable then,
    /// so that whatever serves later is asked; the promotion's report stays.
    ///
    /// `false`, and nothing is changed, where there is no promotion that has just reached its end:
    /// it was given up, its weight was set by hand since, or this was asked before.
    #[must_use]
    pub fn hand_over(&self) -> bool {
        match &self.promotion {
            Some(driver) => driver.finish(|| self.take_back(driver.arm)),
            None => false,
        }
    }

    /// Whether [`Router::hand_over`] would say yes.
    pub(crate) fn is_to_serve(&self) -> bool {
        self.promotion.as_ref().is_some_and(|driver| driver.is_to_serve())
    }

    /// Gives the promotion up, because what it compares is no more what is asked: the canary gets
    /// nothing from now on (unless its weight was set by hand), and nothing is decided any more.
    /// Whether there was anything to give up: a promotion that has ended stays as it is.
    pub fn give_up(&self) -> bool {
        match &self.promotion {
            Some(driver) => driver.give_up(|| self.take_back(driver.arm)),
            None => false,
        }
    }

    /// Whether the promoted canary serves as stable.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.promotion.as_ref().is_some_and(|driver| driver.is_over())
    }

    /// This route, standing where `parents` stood: the same route in the parent of this forked
    /// process. Weights, and with them each key's way, and the promotion's decisions are kept;
    /// counts begin at nothing, and so does the present step.
    pub(crate) fn resumed(self, parents: &Router) -> Router {
        self.table.store(parents.table.load_full());
        if let (Some(driver), Some(parents)) = (&self.promotion, &parents.promotion) {
            driver.resume(parents);
        }
        self
    }

    fn take_back(&self, arm: usize) {
        let nothing = |split: &Split| -> Result<Split> { split.with(&[(arm, 0)]) };
        if let Err(error) = self.change(nothing) {
            tracing::error!(route = %self.name, %error, "a weight could not be taken back");
        }
    }
}
