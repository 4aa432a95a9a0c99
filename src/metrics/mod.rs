//! What an operator sees: metrics in the Prometheus text formats, `tracing` events, a log sink.
//!
//! Recording is lock-free and allocates nothing: a version's [`VersionMetrics`] is made once,
//! when the version is, and a request touches only counters of its own thread's shard. A scrape
//! sums the shards and never makes a request wait. The families are listed in `docs/metrics.md`.

mod bucket;
mod families;
pub(crate) mod histogram;
pub mod log;
mod model;
mod registry;
mod shard;
pub mod trace;
mod version;

pub use families::{MetricFamily, families};
pub use model::ModelMetrics;
pub use registry::{Metrics, MetricsOptions, TextFormat};
pub use version::{LiveGauges, Totals, VersionMetrics, VersionState};

use crate::error::ErrorKind;

/// How many outcomes a request can have: success, and every kind of error.
const OUTCOMES: usize = ErrorKind::ALL.len() + 1;

/// The outcomes' label values, in the order of the error codes, success first.
const OUTCOME_NAMES: [&str; OUTCOMES] = [
    "ok",
    "invalid_model",
    "unsupported",
    "limit_exceeded",
    "invalid_input",
    "invalid_argument",
    "not_found",
    "already_exists",
    "not_ready",
    "overloaded",
    "deadline_exceeded",
    "cancelled",
    "permission_denied",
    "io",
    "execution",
    "internal",
];

/// The place of an error's kind among the outcomes.
fn outcome_index(kind: ErrorKind) -> usize {
    usize::try_from(kind.code()).unwrap_or(OUTCOMES - 1).min(OUTCOMES - 1)
}

#[cfg(test)]
mod tests;
