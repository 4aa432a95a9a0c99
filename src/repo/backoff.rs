//! When to try a version again that could not be loaded.

use super::Fingerprint;
use crate::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait between attempts: twice as long each time up to a maximum, with some chance
/// so that many processes that failed together do not come back together.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// After the first failure (1 s).
    pub initial: Duration,
    /// At most (5 min).
    pub maximum: Duration,
    /// The share of a delay that chance may take off it, 0 to 1 (0.25).
    pub jitter: f64,
    /// Attempts after which a version is left alone until its files change; without end by
    /// default, since what failed once for a passing reason must not be lost for ever.
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial: Duration::from_secs(1),
            maximum: Duration::from_secs(300),
            jitter: 0.25,
            attempts: None,
        }
    }
}

impl Backoff {
    /// How long to wait after the `failures`-th failure (counted from 1); `None` when there were
    /// enough. `chance` is a number from 0 to 1.
    pub fn delay(&self, failures: u32, chance: f64) -> Option<Duration> {
        if self.attempts.is_some_and(|most| failures >= most) {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.maximum);
        let share = self.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0);
        // A NaN in either leaves the whole delay.
        Some(if share > 0.0 { full.mul_f64(1.0 - share) } else { full })
    }
}

/// A failed attempt to load a version.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The files that were tried.
    pub fingerprint: Fingerprint,
    /// How often these files failed.
    pub failures: u32,
    /// When to try again; `None` for not before the files change.
    pub retry_at: Option<Instant>,
    /// Why it failed last.
    pub error: Arc<Error>,
}

impl Failure {
    /// The failure at `now` of files that failed as `previous` says, if they are the same files:
    /// with other files counting begins anew.
    pub fn after(
        previous: Option<&Failure>,
        fingerprint: Fingerprint,
        error: impl Into<Arc<Error>>,
        now: Instant,
        backoff: &Backoff,
    ) -> Failure {
        let before = previous.filter(|p| p.fingerprint == fingerprint).map_or(0, |p| p.failures);
        let failures = before.saturating_add(1);
        let delay = backoff.delay(failures, chance());
        let retry_at = delay.and_then(|delay| now.checked_add(delay));
        Failure { fingerprint, failures, retry_at, error: error.into() }
    }
}

/// A number from 0 to 1 that the operating system's seed decides.
fn chance() -> f64 {
    // Each hasher of the standard library is keyed from the system's source of randomness.
    RandomState::new().hash_one(0u8) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let seconds: Vec<u64> =
            (1..=11).map(|n| backoff.delay(n, 0.5).unwrap().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.delay(u32::MAX, 0.5), Some(backoff.maximum));
    }

    #[test]
    fn chance_shortens_a_delay_by_a_share() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(3, 0.0), Some(Duration::from_secs(4)));
        assert_eq!(backoff.delay(3, 1.0), Some(Duration::from_secs(3)));
        assert_eq!(backoff.delay(3, f64::NAN), Some(Duration::from_secs(4)));
        let chances: Vec<u64> = (0..8).map(|_| chance().to_bits()).collect();
        assert!(chances.iter().any(|c| *c != chances[0]), "chance never changes");
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&chance())));
    }

    #[test]
    fn attempts_end_only_where_that_was_asked_for_and_begin_anew_with_other_files() {
        let now = Instant::now();
        let [one, other] = [1u8, 2].map(Fingerprint::of_test);
        let three = Backoff { attempts: Some(3), ..Backoff::default() };
        let fail = |previous, files| {
            Failure::after(previous, files, err!(InvalidModel, "no"), now, &three)
        };
        let first = fail(None, one);
        let second = fail(Some(&first), one);
        let third = fail(Some(&second), one);
        assert_eq!((first.failures, second.failures, third.failures), (1, 2, 3));
        assert!(first.retry_at > Some(now) && second.retry_at > Some(now));
        assert_eq!(third.retry_at, None);
        let changed = fail(Some(&third), other);
        assert_eq!(changed.failures, 1);
        assert!(changed.retry_at > Some(now));
    }
}
