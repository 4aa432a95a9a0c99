//! The metrics of a model that are of no one version.

use super::shard::{add, count};
use super::{OUTCOMES, outcome_index};
use crate::error::ErrorKind;
use std::array;
use std::sync::atomic::AtomicU64;

/// Reloads, fallbacks and refusals of one model. Rare, so that threads share the counters.
#[derive(Debug)]
pub struct ModelMetrics {
    model: Box<str>,
    reloads: [AtomicU64; OUTCOMES],
    fallbacks: [AtomicU64; OUTCOMES],
    refused: [AtomicU64; OUTCOMES],
}

/// What a scrape reads of a model: counts by outcome.
pub(super) struct ModelReading {
    pub(super) reloads: [u64; OUTCOMES],
    pub(super) fallbacks: [u64; OUTCOMES],
    pub(super) refused: [u64; OUTCOMES],
}

impl ModelMetrics {
    pub(super) fn new(model: &str) -> ModelMetrics {
        ModelMetrics {
            model: model.into(),
            reloads: array::from_fn(|_| AtomicU64::new(0)),
            fallbacks: array::from_fn(|_| AtomicU64::new(0)),
            refused: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The label `model`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A reload ended: with a new version, or with an error that left the old one serving.
    pub fn reloaded(&self, outcome: Result<(), ErrorKind>) {
        count(&self.reloads, outcome.map_or_else(outcome_index, |()| 0));
    }

    /// A fallback was asked because the first choice failed with `reason`.
    pub fn fell_back(&self, reason: ErrorKind) {
        count(&self.fallbacks, outcome_index(reason));
    }

    /// A request was refused before any version was asked.
    pub fn refused(&self, reason: ErrorKind) {
        count(&self.refused, outcome_index(reason));
    }

    pub(super) fn reading(&self) -> ModelReading {
        let (reloads, fallbacks, refused) = ([0; OUTCOMES], [0; OUTCOMES], [0; OUTCOMES]);
        let mut reading = ModelReading { reloads, fallbacks, refused };
        add(&mut reading.reloads, &self.reloads);
        add(&mut reading.fallbacks, &self.fallbacks);
        add(&mut reading.refused, &self.refused);
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reloads_fallbacks_and_refusals_are_counted_by_outcome() {
        let m = ModelMetrics::new("m");
        m.reloaded(Ok(()));
        m.reloaded(Err(ErrorKind::InvalidModel));
        m.reloaded(Err(ErrorKind::InvalidModel));
        m.fell_back(ErrorKind::Internal);
        m.refused(ErrorKind::NotFound);
        let r = m.reading();
        assert_eq!((r.reloads[0], r.reloads[1]), (1, 2));
        assert_eq!((r.fallbacks[OUTCOMES - 1], r.refused[6]), (1, 1));
        assert_eq!(r.reloads.iter().chain(&r.fallbacks).chain(&r.refused).sum::<u64>(), 5);
    }
}
