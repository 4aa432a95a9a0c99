//! How a promotion ends: the canary serves as stable, or it is given up.

use super::router::Router;
use super::split::Split;
use crate::error::Result;

impl Router {
    /// Whether the host is to let the canary serve: it was promoted, and nobody has set its weight
    /// since, nor called [`Router::hand_over`].
    pub fn is_to_serve(&self) -> bool {
        self.promotion.as_ref().is_some_and(|driver| driver.is_to_serve())
    }

    /// Says that the promoted canary serves: stable resolves to it from now on. Its arm gives its
    /// share back to stable (unless the weight was set by hand meanwhile), so that whatever
    /// serves later is asked. The promotion's report stays.
    pub fn hand_over(&self) {
        if let Some(driver) = &self.promotion {
            driver.finish(|| self.take_back(driver.arm));
        }
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
