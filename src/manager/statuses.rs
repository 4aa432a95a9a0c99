//! The life of each version of a name, failed loads included.

use super::events::{VersionState, VersionStatus};
use crate::error::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Versions whose end is remembered.
const KEPT_ENDS: usize = 64;

/// The last known state of each version.
#[derive(Debug, Default)]
pub(super) struct Statuses(BTreeMap<u64, VersionStatus>);

impl Statuses {
    /// Notes a version's new state; whether that applies.
    pub(super) fn enter(
        &mut self,
        version: u64,
        state: VersionState,
        error: Option<&Error>,
    ) -> bool {
        let before = self.0.get(&version);
        // A version that was loaded anew lives, though the last lease on its old copy ends now.
        let newer = before.is_some_and(|s| s.state != VersionState::Unloading);
        if state == VersionState::End && error.is_none() && newer {
            return false;
        }
        let status = VersionStatus {
            version,
            state,
            error: error.map(Error::kind),
            message: error.map_or_else(String::new, |e| e.message().to_string()),
            remote_message: error.map_or_else(String::new, |e| e.remote_message().to_string()),
            since: SystemTime::now(),
            serving: false,
            labels: Vec::new(),
        };
        self.0.insert(version, status);
        let ended = |s: &VersionStatus| s.state == VersionState::End;
        if self.0.values().filter(|s| ended(s)).count() > KEPT_ENDS
            && let Some(oldest) = self.0.values().find(|s| ended(s)).map(|s| s.version)
        {
            self.0.remove(&oldest);
        }
        true
    }

    /// Why a version is not there, where it failed.
    pub(super) fn error_of(&self, version: u64) -> Option<(ErrorKind, String)> {
        let status = self.0.get(&version)?;
        match (status.state, status.error) {
            // Whoever asks may be remote: the message, which names files, is for `versions`.
            (VersionState::End, Some(kind)) => Some((kind, format!("loading it failed ({kind})"))),
            (VersionState::Start | VersionState::Loading, _) => {
                Some((ErrorKind::NotReady, "it is being loaded".to_string()))
            }
            (VersionState::Unloading | VersionState::End, _) => {
                Some((ErrorKind::NotFound, "it was unloaded".to_string()))
            }
            (VersionState::Available, _) => None,
        }
    }

    /// Whether a version (any one for `None`) is being loaded, or could not be.
    pub(super) fn awaited(&self, version: Option<u64>) -> bool {
        let of = |s: &&VersionStatus| version.is_none_or(|version| s.version == version);
        self.0.values().filter(of).any(|status| match status.state {
            VersionState::Start | VersionState::Loading => true,
            VersionState::End => status.error.is_some(),
            VersionState::Available | VersionState::Unloading => false,
        })
    }

    pub(super) fn all(&self) -> Vec<VersionStatus> {
        self.0.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;

    #[test]
    fn failures_are_kept_and_ends_are_bounded() {
        let mut statuses = Statuses::default();
        statuses.enter(1, VersionState::Loading, None);
        statuses.enter(1, VersionState::End, Some(&err!(InvalidModel, "cut short")));
        let (kind, message) = statuses.error_of(1).unwrap();
        assert_eq!(kind, ErrorKind::InvalidModel);
        assert!(!message.contains("cut short"), "{message}");
        assert_eq!(statuses.all()[0].message, "cut short");
        for version in 2..200 {
            statuses.enter(version, VersionState::Unloading, None);
            statuses.enter(version, VersionState::End, None);
        }
        assert_eq!(statuses.all().len(), KEPT_ENDS);
        assert!(statuses.error_of(1).is_none());
    }

    #[test]
    fn the_end_of_an_old_copy_does_not_hide_the_new_one() {
        let mut statuses = Statuses::default();
        statuses.enter(3, VersionState::Unloading, None);
        statuses.enter(3, VersionState::Available, None);
        assert!(!statuses.enter(3, VersionState::End, None));
        assert_eq!(statuses.all()[0].state, VersionState::Available);
    }
}
