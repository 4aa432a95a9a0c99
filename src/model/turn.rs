//! Whether a request waits for its turn, seen from outside of the queue.

use crate::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Written by the lane that runs a request, read by whoever stands above it and hears of its
/// deadline before it comes back: a request that waited to the end says something of the load, one
/// that ran says something of the model.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Turn {
    /// Relaxed: a flag on its own, from which an estimate is made.
    queued: AtomicBool,
    began: OnceLock<Instant>,
}

impl Turn {
    /// The request queues.
    pub(crate) fn queue(&self) {
        self.queued.store(true, Relaxed);
    }

    /// The request is run now.
    pub(crate) fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    /// When a lane began to run it.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// Whether it is queued and not run yet.
    pub(crate) fn waits(&self) -> bool {
        self.queued.load(Relaxed) && self.began.get().is_none()
    }
}
