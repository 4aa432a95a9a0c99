//! The circuit breaker's protocol: who may call a version that fails, and when it counts as
//! whole again. After M. Nygard, "Release It!" (2007).
//!
//! Times are nanoseconds of any one monotonic clock, handed in; threads may hand them in out of
//! order. The model checker compiles this file against its own primitives.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::ops::Deref;

/// Parts of the sliding window: the oldest is forgotten as a new one begins.
const BUCKETS: u64 = 10;

/// When a circuit opens and closes.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How far back calls count.
    pub window: u64,
    /// Calls in the window below which nothing opens.
    pub min_calls: u64,
    /// Share of failed calls from which on it opens.
    pub failure_ratio: f64,
    /// Share of slow calls from which on it opens.
    pub slow_ratio: f64,
    /// How long it stays open the first time; doubled with each probe that fails in a row.
    pub open_for: u64,
    /// Longest time open, and the longest that probes may take.
    pub max_open_for: u64,
    /// Calls let through at once while half open, and successes that close it.
    pub probes: u32,
}

/// What a circuit does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Lets all through.
    Closed,
    /// Refuses all.
    Open,
    /// Lets a few through, to see.
    HalfOpen,
}

/// Why a circuit opened last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too many of the window's calls failed.
    Failures,
    /// Too many of them were slow.
    Slow,
    /// A probe failed or was slow.
    Probe,
    /// Probes did not come back.
    Unanswered,
}

/// Calls in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that were reported.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, failed or not.
    pub slow: u64,
}

/// A change of phase. Reported to one caller only: the one that brought it about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Numbers the changes of a circuit from 1 on.
    pub sequence: u64,
    /// Why the circuit opened last.
    pub cause: Cause,
    /// The window's calls at that time.
    pub opened_on: Counts,
}

/// Where a circuit stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// What it does with calls.
    pub phase: Phase,
    /// The window's calls; while not closed, those that it opened on.
    pub counts: Counts,
    /// Why it opened last.
    pub cause: Cause,
    /// Time until probes are let through; 0 when not open.
    pub retry_in: u64,
    /// Times opened in a row without closing between.
    pub openings: u32,
    /// Calls refused so far.
    pub refused: u64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    window: Window,
    opened_on: Counts,
    cause: Cause,
    openings: u32,
    refused: u64,
    /// Changes so far; a permit of an earlier one says nothing about this phase.
    generation: u64,
    /// Open: when probes may pass. Half open: when probes not yet back count as failed.
    until: u64,
    /// Half open: permits out, and probes that succeeded.
    out: u32,
    passed: u32,
}

/// A circuit breaker's state.
#[derive(Debug)]
pub struct Circuit {
    rules: Rules,
    /// `generation << 1 | closed`, so that a closed circuit admits without the lock. Relaxed: who
    /// reads an old value holds a permit of a generation that is over, whose report is ignored.
    door: AtomicU64,
    state: Mutex<State>,
}

/// The leave to make one call. Dropped without a report it gives its place back and counts for
/// nothing.
#[derive(Debug)]
pub struct Permit<C: Deref<Target = Circuit>> {
    circuit: Option<C>,
    generation: u64,
}

impl Circuit {
    /// A closed circuit.
    pub fn new(rules: Rules) -> Circuit {
        let state = State {
            phase: Phase::Closed,
            window: Window::new(rules.window),
            opened_on: Counts::default(),
            cause: Cause::Failures,
            openings: 0,
            refused: 0,
            generation: 0,
            until: 0,
            out: 0,
            passed: 0,
        };
        Circuit { rules, door: AtomicU64::new(1), state: Mutex::new(state) }
    }

    /// Asks to make a call at `now`: leave, or where the circuit stands that refuses it; and the
    /// change that the asking brought about.
    pub fn admit<C: Deref<Target = Circuit>>(
        circuit: C,
        now: u64,
    ) -> (Result<Permit<C>, Standing>, Option<Change>) {
        let door = circuit.door.load(Ordering::Relaxed);
        if door & 1 == 1 {
            return (Ok(Permit { circuit: Some(circuit), generation: door >> 1 }), None);
        }
        let (answer, change) = circuit.knock(now);
        (answer.map(|generation| Permit { circuit: Some(circuit), generation }), change)
    }

    fn knock(&self, now: u64) -> (Result<u64, Standing>, Option<Change>) {
        let mut state = self.state.lock();
        let over = now >= state.until;
        let full = state.out.saturating_add(state.passed) >= self.rules.probes;
        let change = match state.phase {
            Phase::Open if over => Some(self.turn(&mut state, Phase::HalfOpen, now)),
            Phase::HalfOpen if full && over => {
                state.cause = Cause::Unanswered;
                Some(self.turn(&mut state, Phase::Open, now))
            }
            _ => None,
        };
        // No more than are needed to close it: each may be a call that fails.
        let full = state.out.saturating_add(state.passed) >= self.rules.probes;
        match state.phase {
            Phase::Closed => {}
            Phase::HalfOpen if !full => state.out += 1,
            _ => {
                state.refused = state.refused.saturating_add(1);
                return (Err(standing(&state, now)), change);
            }
        }
        (Ok(state.generation), change)
    }

    fn note(&self, generation: u64, now: u64, failed: bool, slow: bool) -> Option<Change> {
        let mut state = self.state.lock();
        if state.generation != generation {
            return None;
        }
        match state.phase {
            Phase::Closed => {
                state.window.add(now, failed, slow);
                let counts = state.window.counts(now);
                let cause = self.verdict(counts)?;
                state.cause = cause;
                state.opened_on = counts;
                Some(self.turn(&mut state, Phase::Open, now))
            }
            Phase::HalfOpen if failed || slow => {
                state.cause = Cause::Probe;
                Some(self.turn(&mut state, Phase::Open, now))
            }
            Phase::HalfOpen => {
                state.out = state.out.saturating_sub(1);
                state.passed = state.passed.saturating_add(1);
                (state.passed >= self.rules.probes)
                    .then(|| self.turn(&mut state, Phase::Closed, now))
            }
            Phase::Open => None,
        }
    }

    fn give_back(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation && state.phase == Phase::HalfOpen {
            state.out = state.out.saturating_sub(1);
        }
    }

    fn verdict(&self, counts: Counts) -> Option<Cause> {
        let calls = counts.calls as f64;
        if counts.calls < self.rules.min_calls {
            None
        } else if counts.failures > 0 && counts.failures as f64 >= self.rules.failure_ratio * calls
        {
            Some(Cause::Failures)
        } else if counts.slow > 0 && counts.slow as f64 >= self.rules.slow_ratio * calls {
            Some(Cause::Slow)
        } else {
            None
        }
    }

    fn turn(&self, state: &mut State, to: Phase, now: u64) -> Change {
        let from = std::mem::replace(&mut state.phase, to);
        state.generation = state.generation.wrapping_add(1);
        state.out = 0;
        state.passed = 0;
        match to {
            Phase::Open => {
                let doubled = 1u64.checked_shl(state.openings).unwrap_or(u64::MAX);
                let length = self.rules.open_for.saturating_mul(doubled);
                state.until = now.saturating_add(length.min(self.rules.max_open_for));
                state.openings = state.openings.saturating_add(1);
            }
            Phase::HalfOpen => state.until = now.saturating_add(self.rules.max_open_for),
            Phase::Closed => {
                state.openings = 0;
                state.window = Window::new(self.rules.window);
            }
        }
        let door = state.generation << 1 | u64::from(to == Phase::Closed);
        self.door.store(door, Ordering::Relaxed);
        let (cause, opened_on) = (state.cause, state.opened_on);
        Change { from, to, sequence: state.generation, cause, opened_on }
    }

    /// Where the circuit stands at `now`.
    pub fn standing(&self, now: u64) -> Standing {
        standing(&self.state.lock(), now)
    }
}

fn standing(state: &State, now: u64) -> Standing {
    let closed = state.phase == Phase::Closed;
    let open = state.phase == Phase::Open;
    Standing {
        phase: state.phase,
        counts: if closed { state.window.counts(now) } else { state.opened_on },
        cause: state.cause,
        retry_in: if open { state.until.saturating_sub(now) } else { 0 },
        openings: state.openings,
        refused: state.refused,
    }
}

impl<C: Deref<Target = Circuit>> Permit<C> {
    /// Says how the call ended, and what that changed.
    pub fn report(mut self, now: u64, failed: bool, slow: bool) -> Option<Change> {
        let circuit = self.circuit.take()?;
        circuit.note(self.generation, now, failed, slow)
    }
}

impl<C: Deref<Target = Circuit>> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(circuit) = self.circuit.take() {
            circuit.give_back(self.generation);
        }
    }
}

/// Counts of the last while, in buckets of time.
#[derive(Debug)]
struct Window {
    width: u64,
    /// Each with the number of the stretch of time that it counts.
    buckets: [(u64, Counts); BUCKETS as usize],
}

impl Window {
    fn new(length: u64) -> Window {
        Window { width: (length / BUCKETS).max(1), buckets: Default::default() }
    }

    fn add(&mut self, now: u64, failed: bool, slow: bool) {
        let stretch = now / self.width;
        let Some((of, counts)) = self.buckets.get_mut((stretch % BUCKETS) as usize) else { return };
        if *of < stretch {
            *of = stretch;
            *counts = Counts::default();
        } else if *of > stretch {
            // From a thread that was held up for a whole window.
            return;
        }
        counts.calls += 1;
        counts.failures += u64::from(failed);
        counts.slow += u64::from(slow);
    }

    fn counts(&self, now: u64) -> Counts {
        let stretch = now / self.width;
        let mut sum = Counts::default();
        for (of, counts) in &self.buckets {
            if of.saturating_add(BUCKETS) > stretch {
                sum.calls += counts.calls;
                sum.failures += counts.failures;
                sum.slow += counts.slow;
            }
        }
        sum
    }
}
