//! How to batch.

use crate::error::{Result, ensure};
use crate::threads::available_cpus;
use std::time::Duration;

/// How a version's requests take turns. The default batches nothing and only limits how many
/// runs there are side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOptions {
    /// Most rows that run together (1: no batching). A request with more rows than this runs alone,
    /// whole.
    pub max_batch_size: usize,
    /// How long a batch may wait to fill up, counted from the arrival of its oldest request; zero
    /// (the default) never waits. Only a batch that formed while the model was busy waits: an idle
    /// model runs at once whatever this says.
    pub max_queue_delay: Duration,
    /// Numbers of rows that the model likes best. A batch is cut to the largest that can be filled,
    /// and once the largest of all is there it is not waited for more. Empty (the default): any
    /// number up to `max_batch_size`.
    pub preferred_batch_sizes: Vec<usize>,
    /// Most requests that wait (1,024). One more is refused as `Overloaded` at once.
    pub max_queue_size: usize,
    /// Most runs side by side. 0 (the default) chooses: the process's CPUs where nothing is
    /// batched, one where batches form (a batch uses the CPUs itself).
    pub concurrency: usize,
    /// Batch only if a probe at construction finds every row's answer to be the same bits alone
    /// and in a batch. Without it, answers may differ by up to 0.1 % of the largest in the row.
    pub batch_invariant: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            max_batch_size: 1,
            max_queue_delay: Duration::ZERO,
            preferred_batch_sizes: Vec::new(),
            max_queue_size: 1024,
            concurrency: 0,
            batch_invariant: false,
        }
    }
}

/// Most runs side by side that can be asked for: beyond lies no gain on any machine.
pub(crate) const MAX_CONCURRENCY: usize = 1024;

/// The options, checked, as the lane needs them.
#[derive(Debug)]
pub(super) struct Rules {
    /// Most rows together.
    pub most: usize,
    /// Rows from which on a batch is not waited for.
    target: usize,
    /// Ascending.
    preferred: Vec<usize>,
    /// How long a batch may wait.
    pub delay: Duration,
}

impl BatchOptions {
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.max_batch_size > 0,
            InvalidArgument,
            "max_batch_size is 0: give the most rows that may run together (1 batches nothing)"
        );
        for &size in &self.preferred_batch_sizes {
            ensure!(
                (1..=self.max_batch_size).contains(&size),
                InvalidArgument,
                "a preferred batch size of {size} is outside 1 to max_batch_size ({})",
                self.max_batch_size
            );
        }
        ensure!(
            self.concurrency <= MAX_CONCURRENCY,
            InvalidArgument,
            "a concurrency of {} (at most {MAX_CONCURRENCY})",
            self.concurrency
        );
        Ok(())
    }

    /// Runs side by side, where it is known whether batches form.
    pub(super) fn runs(&self, batches: bool) -> usize {
        match self.concurrency {
            0 if batches => 1,
            0 => available_cpus(),
            n => n,
        }
    }

    pub(super) fn rules(&self, batches: bool) -> Rules {
        let most = if batches { self.max_batch_size } else { 1 };
        let mut preferred = if batches { self.preferred_batch_sizes.clone() } else { Vec::new() };
        preferred.sort_unstable();
        let target = preferred.last().copied().unwrap_or(most);
        Rules { most, target, preferred, delay: self.max_queue_delay }
    }
}

impl Rules {
    /// How many rows join a leader that has `own`, when `available` could; `None` to wait for
    /// more.
    pub(super) fn take(&self, own: usize, available: usize, can_wait: bool) -> Option<usize> {
        let total = own + available;
        if total < self.target && can_wait {
            return None;
        }
        let size = self.preferred.iter().rev().copied().find(|&size| size <= total);
        Some(size.unwrap_or(total).saturating_sub(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_to_preferred_sizes_and_waited_for_below_the_largest() {
        let options = BatchOptions {
            max_batch_size: 16,
            preferred_batch_sizes: vec![8, 4],
            ..Default::default()
        };
        let rules = options.rules(true);
        assert_eq!(rules.take(1, 2, true), None);
        assert_eq!(rules.take(1, 2, false), Some(2), "no preferred size fits: all of them");
        assert_eq!(rules.take(1, 4, false), Some(3));
        assert_eq!(rules.take(1, 10, true), Some(7));
        assert_eq!(rules.take(11, 2, false), Some(0), "the leader's own rows are never cut");
        let plain = BatchOptions { max_batch_size: 16, ..Default::default() }.rules(true);
        assert_eq!(plain.take(1, 14, true), None);
        assert_eq!((plain.take(1, 15, true), plain.take(1, 3, false)), (Some(15), Some(3)));
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let refused = |o: BatchOptions| o.check().is_err();
        assert!(refused(BatchOptions { max_batch_size: 0, ..Default::default() }));
        assert!(refused(BatchOptions { preferred_batch_sizes: vec![2], ..Default::default() }));
        assert!(refused(BatchOptions { concurrency: 5000, ..Default::default() }));
        assert!(BatchOptions::default().check().is_ok());
    }
}
