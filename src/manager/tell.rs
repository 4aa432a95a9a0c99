//! What a slot tells of its versions: states, events, counts.

use super::policies::Live;
use super::slot::{Serving, Slot};
use super::stats::{ModelStats, VersionStats};
use super::{EventKind, VersionState, VersionStatus};
use crate::error::Error;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Slot {
    /// Notes a version's new state and tells the listeners.
    pub(super) fn enter(&self, version: u64, state: VersionState, error: Option<&Error>) {
        if !self.statuses.lock().enter(version, state, error) {
            return;
        }
        self.count_state(version, state);
        let (error, message) = match error {
            Some(e) => (Some(e.kind()), e.message().to_string()),
            None => (None, String::new()),
        };
        self.events.send(&self.name, version, EventKind::State { state, error, message });
    }

    fn count_state(&self, version: u64, state: VersionState) {
        // A version that never came to life has no series.
        let known = self.history.lock().iter().find(|c| c.version() == version).cloned();
        let Some(counts) = known else { return };
        counts.metrics.set_state(state);
        if state == VersionState::End {
            counts.metrics.set_bytes(0);
            self.metrics.remove_version(&self.name, version);
        }
    }

    /// The last lease on a version ended (called when its core is dropped, on any thread).
    pub(super) fn ended(&self, version: u64) {
        self.enter(version, VersionState::End, None);
    }

    pub(super) fn versions(&self) -> Vec<VersionStatus> {
        let state = self.cell.full();
        let mut all = self.statuses.lock().all();
        for status in &mut all {
            status.serving =
                matches!(&state.serving, Serving::Version(v) if v.number() == status.version);
            status.labels = state
                .labels
                .iter()
                .filter(|(_, v)| **v == status.version)
                .map(|(label, _)| label.clone())
                .collect();
        }
        all
    }

    /// The policies at work.
    pub(super) fn live(&self) -> Live {
        self.cell.with(|state| state.live.clone())
    }

    /// The numbers of the versions that can be asked.
    pub(super) fn available(&self) -> Vec<u64> {
        self.cell.with(|state| state.versions.keys().copied().collect())
    }

    pub(super) fn labels(&self) -> BTreeMap<Arc<str>, u64> {
        self.cell.with(|state| state.labels.clone())
    }

    pub(super) fn stats(&self) -> ModelStats {
        let serving = self.cell.with(|state| match &state.serving {
            Serving::Version(v) => Some(v.number()),
            _ => None,
        });
        let versions: Vec<VersionStats> =
            self.history.lock().iter().map(|c| c.snapshot(serving == Some(c.version()))).collect();
        ModelStats { name: self.name.to_string(), versions }
    }
}
