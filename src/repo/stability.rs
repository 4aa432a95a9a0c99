//! When a version is complete.
//!
//! A folder that is being copied looks like one that is not. Two things tell them apart: a
//! manifest whose digests match, or files that have rested. Files have rested when two scans, the
//! settling time apart, saw the same fingerprint; a copy that makes a longer pause than that is
//! taken for complete, and the file formats have to refuse its halves (see
//! [`super::FoundVersion`]), until the files change again.

use super::contents::Fingerprint;
use super::manifest::Manifest;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the scans have seen of each version.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    seen: HashMap<Arc<str>, HashMap<u64, Seen>>,
}

/// What the scans have seen of one version.
#[derive(Debug)]
pub(super) struct Seen {
    fingerprint: Fingerprint,
    /// The first scan that saw this fingerprint.
    since: Instant,
    /// Whether more than one did.
    again: bool,
    /// What the manifest said of these files.
    verdict: Option<Verdict>,
    /// Whether a manifest did not match before: the copy is under way.
    copying: bool,
}

/// Whether the files are those of the manifest; if not, why.
pub(super) type Verdict = Result<Arc<Manifest>, String>;

impl Tracker {
    /// Notes what a scan at `now` saw.
    pub(super) fn observe(
        &mut self,
        model: &Arc<str>,
        version: u64,
        fingerprint: Fingerprint,
        now: Instant,
    ) -> &mut Seen {
        let fresh =
            || Seen { fingerprint, since: now, again: false, verdict: None, copying: false };
        let versions = self.seen.entry(model.clone()).or_default();
        let seen = versions.entry(version).and_modify(|seen| {
            if seen.fingerprint == fingerprint {
                seen.again = true;
            } else {
                let copying = matches!(seen.verdict, Some(Err(_))) || seen.copying;
                *seen = Seen { copying, ..fresh() };
            }
        });
        seen.or_insert_with(fresh)
    }

    /// Forgets what `keep` does not want: versions that are gone.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, u64) -> bool) {
        self.seen.retain(|model, versions| {
            versions.retain(|version, _| keep(model, *version));
            !versions.is_empty()
        });
    }
}

impl Seen {
    /// When, after `now`, the files will have rested for `settle`; never, for a time beyond the
    /// clock, is an hour on.
    pub(super) fn settled_at(&self, settle: Duration, now: Instant) -> Instant {
        const NEVER: Duration = Duration::from_secs(3600);
        self.since.checked_add(settle).unwrap_or(now + NEVER).max(now)
    }

    /// Whether they have, at a scan at `now`.
    pub(super) fn is_settled(&self, settle: Duration, now: Instant) -> bool {
        self.again && now.saturating_duration_since(self.since) >= settle
    }

    /// What the manifest says of these files, asked once. While a copy is known to be under way
    /// (a manifest did not match before) it is not asked before two scans saw the same files:
    /// digests of large files are not computed again and again.
    pub(super) fn verdict<E>(
        &mut self,
        ask: impl FnOnce() -> Result<Verdict, E>,
    ) -> Result<Option<&Verdict>, E> {
        if self.verdict.is_none() && (!self.copying || self.again) {
            self.verdict = Some(ask()?);
        }
        Ok(self.verdict.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const SETTLE: Duration = Duration::from_millis(500);

    #[test]
    fn files_settle_when_two_scans_far_enough_apart_saw_the_same() {
        let (start, model) = (Instant::now(), Arc::from("m"));
        let [a, b] = [1, 2].map(Fingerprint::of_test);
        let mut tracker = Tracker::default();
        // (milliseconds, what is seen, settled then)
        for (at, files, settled) in [
            (0, a, false),
            (300, a, false),
            (500, a, true),
            (600, b, false),
            (5000, b, true),
            (5001, a, false),
            (5002, b, false),
            (5501, b, false),
            (5502, b, true),
        ] {
            let now = start + Duration::from_millis(at);
            let seen = tracker.observe(&model, 7, files, now);
            assert_eq!(seen.is_settled(SETTLE, now), settled, "at {at} ms");
        }
        // One look is not enough, however late: the clock of the scans is all there is.
        let late = start + Duration::from_secs(3600);
        assert!(!tracker.observe(&model, 8, a, late).is_settled(Duration::ZERO, late));
        tracker.retain(|_, version| version == 8);
        assert!(!tracker.observe(&model, 7, b, late).is_settled(SETTLE, late));
    }

    #[test]
    fn a_manifest_is_asked_once_for_the_same_files_and_rarely_while_copying() {
        let (now, model) = (Instant::now(), Arc::from("m"));
        let mut tracker = Tracker::default();
        let mut asked = 0;
        let mut look = |files: u8| {
            let seen = tracker.observe(&model, 7, Fingerprint::of_test(files), now);
            let _ = seen.verdict(|| {
                asked += 1;
                Ok::<_, Infallible>(Err("half".to_string()))
            });
            asked
        };
        assert_eq!([look(1), look(1), look(1)], [1, 1, 1]);
        // Changes at every scan: not asked until it rests for one.
        assert_eq!([look(2), look(3), look(4), look(4), look(4)], [1, 1, 1, 2, 2]);
    }
}
