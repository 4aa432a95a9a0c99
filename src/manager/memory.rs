//! How much memory the versions hold, and what to do when it is too much.

use super::slot::Slot;
use crate::error::{Result, err};
use crate::process::OwnLock;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// What to do when a version does not fit into the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryPolicy {
    /// Refuse to load it.
    #[default]
    Refuse,
    /// Unload idle models, the least recently used first, until it fits; they are loaded again
    /// when they are asked. Only models loaded from a file, with one version, can be unloaded so.
    Evict,
}

/// Bytes that one version holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// Bytes of weights and other constants.
    pub weights: u64,
    /// Bytes of what was made of them for speed (packed weights, compact trees).
    pub packed: u64,
    /// Bytes of work space kept between runs.
    pub scratch: u64,
}

/// The budget of a manager.
pub(super) struct Memory {
    pub(super) budget: Option<u64>,
    pub(super) policy: MemoryPolicy,
    slots: Mutex<Vec<Weak<Slot>>>,
    /// Bytes of versions that are being loaded. A child of a fork loads none of them.
    reserved: OwnLock<u64>,
}

/// Room in the budget for a version that is being loaded; given back when dropped, once the
/// version is counted itself.
pub(super) struct Reserved {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut reserved = self.memory.reserved.lock(u64::default);
        *reserved = reserved.saturating_sub(self.bytes);
    }
}

impl Memory {
    pub(super) fn new(budget: Option<u64>, policy: MemoryPolicy) -> Memory {
        Memory { budget, policy, slots: Mutex::default(), reserved: OwnLock::new(0) }
    }

    /// Whether idle models may be unloaded, so that their last use has to be known.
    pub(super) fn evicts(&self) -> bool {
        self.budget.is_some() && self.policy == MemoryPolicy::Evict
    }

    pub(super) fn join(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        slots.retain(|s| s.strong_count() > 0);
        slots.push(Arc::downgrade(slot));
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Reserves room for `bytes` more in the budget.
    ///
    /// # Errors
    /// `LimitExceeded`, saying what is held and what was asked.
    pub(super) fn make_room(self: &Arc<Self>, bytes: u64, for_slot: &str) -> Result<Reserved> {
        let Some(budget) = self.budget else {
            return Ok(Reserved { memory: self.clone(), bytes: 0 });
        };
        loop {
            let slots = self.slots();
            // Looked at and taken in one step: of two loads at once, one finds the other's.
            let mut reserved = self.reserved.lock(u64::default);
            let weights = slots.iter().map(|s| s.weight_bytes());
            let held: u64 = weights.fold(*reserved, u64::saturating_add);
            if held.saturating_add(bytes) <= budget {
                *reserved = reserved.saturating_add(bytes);
                return Ok(Reserved { memory: self.clone(), bytes });
            }
            drop(reserved);
            let freed = match self.policy {
                MemoryPolicy::Refuse => None,
                MemoryPolicy::Evict => evict(slots, for_slot),
            };
            if freed.is_none() {
                return Err(err!(
                    LimitExceeded,
                    "{bytes} bytes do not fit: the models hold or load {held} of a budget of {budget} \
                     (ManagerOptions::memory_budget)"
                ));
            }
        }
    }
}

/// Unloads the least recently used idle model but `except`; answers what that freed.
fn evict(mut slots: Vec<Arc<Slot>>, except: &str) -> Option<u64> {
    slots.retain(|slot| slot.name() != except);
    slots.sort_by_key(|slot| slot.last_used());
    slots.iter().find_map(|slot| slot.park())
}
