//! A circuit breaker's options, and what can be seen of it.

use super::core::{Phase, Rules, Standing};
use super::nanos;
use crate::error::{Result, ensure};
use std::time::Duration;

/// When a circuit opens, and how it closes again.
///
/// These speak against a version: `Execution`, `Internal` (a panic included), `NotReady`, `Io`,
/// `InvalidModel`, `Unsupported`, `PermissionDenied`, and `DeadlineExceeded` when the deadline
/// left the run at least the time that runs usually take, or when the call waited to the end and
/// no other was run or answered meanwhile. These never do, as they are the caller's or the load's:
/// `DeadlineExceeded` of a call that waited while others were run, `InvalidInput`, `InvalidArgument`, `NotFound`, `LimitExceeded`, `Cancelled`,
/// `Overloaded`; calls that end so count neither as failed nor as made.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerOptions {
    /// How far back calls count, in ten steps. Default: 10 s.
    pub window: Duration,
    /// Calls in the window below which the circuit stays closed. Default: 20.
    pub min_requests: u64,
    /// Share of failed calls (above 0, at most 1) from which on it opens. Default: 0.5.
    pub failure_ratio: f64,
    /// From which time on a call is slow: its run, where the receipt tells it, otherwise the
    /// whole call. Default: none is.
    pub slow_call: Option<Duration>,
    /// Share of slow calls (above 0, at most 1) from which on it opens. Default: 0.5.
    pub slow_ratio: f64,
    /// How long it stays open before probes are let through; doubled each time that they fail.
    /// Default: 5 s.
    pub open_for: Duration,
    /// Longest time open; probes that take longer count as failed. Default: 60 s.
    pub max_open_for: Duration,
    /// Calls let through at once while half open; as many successes close it. Default: 3.
    pub probes: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        BreakerOptions {
            window: Duration::from_secs(10),
            min_requests: 20,
            failure_ratio: 0.5,
            slow_call: None,
            slow_ratio: 0.5,
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(60),
            probes: 3,
        }
    }
}

impl BreakerOptions {
    /// The options as the protocol wants them.
    pub(super) fn rules(&self) -> Result<Rules> {
        for (name, ratio) in
            [("failure_ratio", self.failure_ratio), ("slow_ratio", self.slow_ratio)]
        {
            ensure!(
                ratio > 0.0 && ratio <= 1.0,
                InvalidArgument,
                "{name} is {ratio}: expected a share above 0 and at most 1"
            );
        }
        for (name, time) in [("window", self.window), ("open_for", self.open_for)] {
            ensure!(!time.is_zero(), InvalidArgument, "{name} is 0: expected a time above 0");
        }
        ensure!(
            self.max_open_for >= self.open_for,
            InvalidArgument,
            "max_open_for ({:?}) is less than open_for ({:?})",
            self.max_open_for,
            self.open_for
        );
        ensure!(self.probes > 0, InvalidArgument, "probes is 0: the circuit could never close");
        ensure!(self.min_requests > 0, InvalidArgument, "min_requests is 0: expected at least 1");
        Ok(Rules {
            window: nanos(self.window),
            min_calls: self.min_requests,
            failure_ratio: self.failure_ratio,
            slow_ratio: self.slow_ratio,
            open_for: nanos(self.open_for),
            max_open_for: nanos(self.max_open_for),
            probes: self.probes,
        })
    }
}

/// What a circuit does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Lets all through.
    Closed,
    /// Refuses all.
    Open,
    /// Lets a few through, to see whether the version is whole again.
    HalfOpen,
}

impl BreakerState {
    /// `closed`, `open` or `half_open`.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl std::fmt::Display for BreakerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Phase> for BreakerState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open => BreakerState::Open,
            Phase::HalfOpen => BreakerState::HalfOpen,
        }
    }
}

/// Where a circuit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// What it does with calls.
    pub state: BreakerState,
    /// Calls in the window; while not closed, those that it opened on.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that were slow.
    pub slow: u64,
    /// Times it opened in a row without closing between.
    pub openings: u32,
    /// Calls refused since it was made.
    pub refused: u64,
    /// Time until probes are let through; `None` when it is not open.
    pub retry_in: Option<Duration>,
}

impl BreakerSnapshot {
    pub(super) fn of(standing: &Standing) -> BreakerSnapshot {
        let state = BreakerState::from(standing.phase);
        BreakerSnapshot {
            state,
            calls: standing.counts.calls,
            failures: standing.counts.failures,
            slow: standing.counts.slow,
            openings: standing.openings,
            refused: standing.refused,
            retry_in: (state == BreakerState::Open)
                .then(|| Duration::from_nanos(standing.retry_in)),
        }
    }
}

/// A change of a circuit's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerEvent {
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
    /// Numbers the changes of one breaker from 1 on.
    pub sequence: u64,
    /// Why the circuit opened last.
    pub reason: String,
}
