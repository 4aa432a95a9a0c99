//! What to do: what a scan saw, against what is loaded.
//!
//! Availability comes first. A new version is loaded before the old one leaves; one that is
//! incomplete or broken takes nothing from what serves; and a folder that vanished unloads nothing
//! unless that was asked for.

use super::backoff::Failure;
use super::contents::Fingerprint;
use super::policy::{Policies, VersionPolicy};
use super::scan::{ModelScan, Readiness, Scan};
use super::version::FoundVersion;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// How a version stands with whoever loads it. A version that is not mentioned is not loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VersionState {
    /// It is being loaded.
    Loading,
    /// It serves, loaded from these files.
    Serving(Fingerprint),
    /// It could not be loaded.
    Failed(Failure),
}

/// How all versions stand, by model. Models that came from elsewhere than the repository are left
/// out.
pub type States = BTreeMap<Arc<str>, BTreeMap<u64, VersionState>>;

/// One thing to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action {
    /// Load this version. Its state should be [`VersionState::Loading`] from now on.
    Load(Arc<FoundVersion>),
    /// Take this version out of service.
    Unload {
        /// The model.
        model: Arc<str>,
        /// The version.
        version: u64,
    },
}

/// What to do, in order.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The actions. All loads of a model come before its unloads, and none of its versions is
    /// unloaded while another is still to be loaded.
    pub actions: Vec<Action>,
    /// When to scan and reconcile again, even if nothing is heard of the repository.
    pub wake: Option<Instant>,
    /// Versions that serve and whose files have changed since. They are not loaded again: a
    /// changed model wants a new version number.
    pub changed: Vec<(Arc<str>, u64)>,
}

/// What to do about a scan at `now`. Pure: calling it again with the same arguments answers the
/// same, and when its loads are under way and its unloads done there is nothing more to do.
pub fn reconcile(scan: &Scan, policies: &Policies, states: &States, now: Instant) -> Plan {
    let mut plan = Plan::default();
    let gone = scan.error.as_ref().map(|e| e.kind() == crate::ErrorKind::NotFound);
    // What cannot be read says nothing of what is there.
    if gone == Some(false) {
        return plan;
    }
    let nothing = (ModelScan::default(), BTreeMap::new());
    let names: BTreeSet<&Arc<str>> = scan.models.keys().chain(states.keys()).collect();
    for name in names {
        let seen = scan.models.get(name).unwrap_or(&nothing.0);
        if seen.error.is_some() {
            continue;
        }
        let states = states.get(name).unwrap_or(&nothing.1);
        let model = Reconciled::of(seen, policies.of(name), states, now);
        model.write(name, seen, states, policies.unload_missing, &mut plan);
    }
    plan
}

/// One model's part of a plan.
#[derive(Default)]
struct Reconciled {
    /// The versions that should serve, newest first, as far as they can.
    targets: BTreeSet<u64>,
    loads: Vec<Arc<FoundVersion>>,
    wake: Option<Instant>,
}

impl Reconciled {
    fn of(
        seen: &ModelScan,
        policy: &VersionPolicy,
        states: &BTreeMap<u64, VersionState>,
        now: Instant,
    ) -> Reconciled {
        let mut model = Reconciled::default();
        let (order, most) = match policy {
            VersionPolicy::Latest(n) => (policy.candidates(&seen.versions), *n),
            VersionPolicy::All => (policy.candidates(&seen.versions), usize::MAX),
            // What the operator named stays wanted when its folder is gone.
            VersionPolicy::Specific(versions) => (versions.clone(), usize::MAX),
        };
        for version in order {
            if model.targets.len() >= most {
                break;
            }
            model.consider(version, seen, states.get(&version), now);
        }
        model
    }

    fn consider(
        &mut self,
        version: u64,
        seen: &ModelScan,
        state: Option<&VersionState>,
        now: Instant,
    ) {
        if matches!(state, Some(VersionState::Loading | VersionState::Serving(_))) {
            self.targets.insert(version);
            return;
        }
        let found = match seen.candidates.get(&version).map(|c| &c.readiness) {
            Some(Readiness::Complete(found)) => found,
            Some(Readiness::Settling(at)) => return self.wake_at(*at),
            _ => return,
        };
        if let Some(VersionState::Failed(failure)) = state
            && failure.fingerprint == found.fingerprint
        {
            match failure.retry_at {
                None => return,
                Some(at) if at > now => return self.wake_at(at),
                Some(_) => {}
            }
        }
        if self.targets.insert(version) {
            self.loads.push(found.clone());
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |before| before.min(at)));
    }

    fn write(
        self,
        name: &Arc<str>,
        seen: &ModelScan,
        states: &BTreeMap<u64, VersionState>,
        unload_missing: bool,
        plan: &mut Plan,
    ) {
        let serving = |v: &u64| matches!(states.get(v), Some(VersionState::Serving(_)));
        let all_serve = self.targets.iter().all(serving);
        let may_leave = if self.targets.is_empty() {
            // Nothing can take over: only a folder that is really empty may end the service.
            unload_missing && seen.versions.is_empty()
        } else {
            all_serve
        };
        for (version, state) in states {
            let VersionState::Serving(fingerprint) = state else { continue };
            let now = seen.candidates.get(version).and_then(|c| c.fingerprint);
            if now.is_some_and(|now| now != *fingerprint) {
                plan.changed.push((name.clone(), *version));
            }
        }
        plan.actions.extend(self.loads.into_iter().map(Action::Load));
        if may_leave {
            let leaving = states.keys().filter(|v| serving(v) && !self.targets.contains(v));
            plan.actions
                .extend(leaving.map(|&version| Action::Unload { model: name.clone(), version }));
        }
        plan.wake = [plan.wake, self.wake].into_iter().flatten().min();
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Candidate;
    use super::*;
    use crate::error::{Error, err};
    use std::time::Duration;

    /// What a row of the table says of a version: `12` is complete, `12s` settles, `12i` is
    /// incomplete, `12u` cannot be read.
    fn scan(versions: &str, now: Instant) -> Scan {
        let mut model = ModelScan::default();
        for word in versions.split_whitespace() {
            let number: u64 = word.trim_end_matches(char::is_alphabetic).parse().unwrap();
            let fingerprint = Fingerprint::of_test(number as u8);
            let readiness = match word.trim_start_matches(|c: char| c.is_ascii_digit()) {
                "" => {
                    Readiness::Complete(Arc::new(FoundVersion::of_test("m", number, fingerprint)))
                }
                "s" => Readiness::Settling(now + Duration::from_millis(500)),
                "i" => Readiness::Incomplete("half".to_string()),
                "u" => Readiness::Unreadable(Arc::new(err!(Io, "disk"))),
                other => panic!("{other}"),
            };
            model.versions.push(number);
            model
                .candidates
                .insert(number, Candidate { fingerprint: Some(fingerprint), readiness });
        }
        let mut scan = Scan::default();
        scan.models.insert("m".into(), model);
        scan
    }

    /// `7` serves, `7l` is loading, `7f` failed and waits, `7d` failed and is due again, `7x`
    /// failed for good, `7o` failed with other files, `7c` serves from other files.
    fn states(versions: &str, now: Instant) -> States {
        let mut states = BTreeMap::new();
        for word in versions.split_whitespace() {
            let number: u64 = word.trim_end_matches(char::is_alphabetic).parse().unwrap();
            let same = Fingerprint::of_test(number as u8);
            let other = Fingerprint::of_test(200);
            let failed = |fingerprint, retry_at| {
                let error: Arc<Error> = Arc::new(err!(InvalidModel, "bad"));
                VersionState::Failed(Failure { fingerprint, failures: 1, retry_at, error })
            };
            let later = Some(now + Duration::from_secs(4));
            let state = match word.trim_start_matches(|c: char| c.is_ascii_digit()) {
                "" => VersionState::Serving(same),
                "l" => VersionState::Loading,
                "f" => failed(same, later),
                "d" => failed(same, Some(now)),
                "x" => failed(same, None),
                "o" => failed(other, later),
                "c" => VersionState::Serving(other),
                unknown => panic!("{unknown}"),
            };
            states.insert(number, state);
        }
        States::from([("m".into(), states)])
    }

    #[test]
    fn what_is_done_about_what_is_seen() {
        // policy, what is there, what is loaded, what to do, when to look again (ms)
        for (policy, there, loaded, doing, wake) in [
            // The first version, and nothing more once it loads or serves.
            ("latest", "1", "", "+1", None),
            ("latest", "1", "1l", "", None),
            ("latest", "1", "1", "", None),
            // The new one first; the old one leaves when the new one serves.
            ("latest", "1 2", "1", "+2", None),
            ("latest", "1 2", "1 2l", "", None),
            ("latest", "1 2", "1 2", "-1", None),
            // What is half copied, broken or unreadable takes nothing away.
            ("latest", "1 2s", "1", "", Some(500)),
            ("latest", "1 2i", "1", "", None),
            ("latest", "1 2u", "1", "", None),
            ("latest", "1 2", "1 2f", "", Some(4000)),
            ("latest", "1 2", "1 2x", "", None),
            ("latest", "1 2", "1 2d", "+2", None),
            ("latest", "1 2", "1 2o", "+2", None),
            // After a restart an older one stands in for a newer one that cannot serve.
            ("latest", "1 2i", "", "+1", None),
            ("latest", "1 2 3s", "", "+2", Some(500)),
            ("latest", "1 2", "2f", "+1", Some(4000)),
            // Rolled back by removing the newest: the older one is loaded first.
            ("latest", "1", "2", "+1", None),
            ("latest", "1", "1 2", "-2", None),
            // Removed, and nothing can take over yet.
            ("latest", "1s", "2", "", Some(500)),
            ("latest", "", "2", "", None),
            // Files of what serves may come and go.
            ("latest", "1i", "1", "", None),
            // Several.
            ("latest(2)", "1 2 3", "", "+3 +2", None),
            ("latest(2)", "1 2 3", "1 2", "+3", None),
            ("latest(2)", "1 2 3", "1 2 3", "-1", None),
            ("latest(2)", "1 2 3i", "1 2", "", None),
            ("latest(3)", "1", "", "+1", None),
            ("all", "1 2 3i", "", "+2 +1", None),
            ("all", "1 2 3", "1 2 3", "", None),
            ("all", "1 3", "1 2 3", "-2", None),
            ("all", "1 3 4", "1 2 3", "+4", None),
            ("all", "1 3 4s", "1 2 3", "-2", Some(500)),
            ("all", "", "1 2", "", None),
            ("specific(1,3)", "1 2 3", "", "+1 +3", None),
            ("specific(1,1)", "1 2", "", "+1", None),
            ("specific(3)", "1 2 3", "1 2", "+3", None),
            ("specific(3)", "1 2 3", "1 2 3", "-1 -2", None),
            // The version that the operator named serves on without its folder.
            ("specific(3)", "1 2", "3", "", None),
            ("specific(3)", "1 2", "1", "", None),
            ("specific(2,3)", "2", "2 3", "", None),
            // Failed versions that nobody wants are left alone.
            ("latest", "1 2", "1d 2", "", None),
        ] {
            let now = Instant::now();
            let policies = Policies { default: policy.parse().unwrap(), ..Policies::default() };
            let plan = reconcile(&scan(there, now), &policies, &states(loaded, now), now);
            let done: Vec<String> = plan
                .actions
                .iter()
                .map(|action| match action {
                    Action::Load(found) => format!("+{}", found.version),
                    Action::Unload { version, .. } => format!("-{version}"),
                })
                .collect();
            let row = format!("{policy}, there: {there}, loaded: {loaded}");
            assert_eq!(done.join(" "), doing, "{row}");
            assert_eq!(plan.wake, wake.map(|ms| now + Duration::from_millis(ms)), "{row}");
        }
    }

    #[test]
    fn changed_files_of_a_serving_version_are_told_and_not_loaded() {
        let now = Instant::now();
        let plan = reconcile(&scan("1 2", now), &Policies::default(), &states("2c", now), now);
        assert_eq!(plan.changed, [("m".into(), 2)]);
        assert!(plan.actions.is_empty());
    }

    #[test]
    fn each_model_has_its_own_policy_and_what_is_missing_goes_only_by_choice() {
        let now = Instant::now();
        let mut policies = Policies::default();
        policies.models.insert("m".to_string(), VersionPolicy::All);
        let plan = reconcile(&scan("1 2", now), &policies, &States::new(), now);
        assert_eq!(plan.actions.len(), 2);
        policies.unload_missing = true;
        let plan = reconcile(&scan("", now), &policies, &states("1 2f 3l", now), now);
        assert!(matches!(&plan.actions[..], [Action::Unload { version: 1, .. }]), "{plan:?}");
        // Something is there, though of no use yet: not missing.
        let plan = reconcile(&scan("4i", now), &policies, &states("1", now), now);
        assert!(plan.actions.is_empty());
    }
}
