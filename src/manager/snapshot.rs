//! One consistent set of versions over several models.

use super::ModelHandle;
use super::slot::Slot;
use crate::error::{Result, bail, err};
use std::sync::Arc;

/// How often versions that change between two looks are looked up anew. Models that make room for
/// each other change at every look.
const ROUNDS: usize = 16;

/// One version of each of several models, all serving at one and the same moment. They stay
/// loaded, and keep answering, as long as the snapshot is held, through reloads and unloads.
#[derive(Debug, Clone)]
pub struct Snapshot(Vec<ModelHandle>);

impl Snapshot {
    /// Takes the versions that serve now. A reload between two of the look-ups is seen when all
    /// are looked up once more, and then they are taken again: the set is one that served at one
    /// moment.
    pub(super) fn take(slots: &[Arc<Slot>]) -> Result<Snapshot> {
        let collect = || slots.iter().map(|slot| slot.current()).collect::<Result<Vec<_>>>();
        let mut versions = collect()?;
        for _ in 0..ROUNDS {
            let again = collect()?;
            if versions.iter().zip(&again).all(|(a, b)| Arc::ptr_eq(&a.core, &b.core)) {
                let handles = slots.iter().zip(versions);
                let handles = handles.map(|(s, v)| ModelHandle::pinned(s.clone(), v));
                return Ok(Snapshot(handles.collect()));
            }
            versions = again;
        }
        bail!(
            LimitExceeded,
            "the models did not serve side by side in {ROUNDS} looks: they may be more than the              memory budget holds together (ManagerOptions::memory_budget)"
        )
    }

    /// The pinned handle of one of its models.
    ///
    /// # Errors
    /// `NotFound` for a model that the snapshot does not hold.
    pub fn model(&self, name: &str) -> Result<&ModelHandle> {
        self.0.iter().find(|handle| handle.name() == name).ok_or_else(|| {
            let held = self.0.iter().map(ModelHandle::name).collect::<Vec<_>>().join(", ");
            err!(NotFound, "the snapshot does not hold it (it holds: {held})").with_model(name)
        })
    }

    /// The pinned handles, in the order in which the models were named.
    pub fn models(&self) -> &[ModelHandle] {
        &self.0
    }
}
