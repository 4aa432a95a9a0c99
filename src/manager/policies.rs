//! PLACEHOLDER

use super::slot::Slot;
use super::version::Core;
use crate::error::Result;
use crate::model::Model;
use std::sync::Arc;

/// PLACEHOLDER
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Policies {
    /// Recent requests.
    pub recent_inputs: usize,
}

impl Policies {
    pub(super) fn check(&self, _slot: &Slot) -> Result<()> {
        Ok(())
    }
    pub(super) fn around(&self, _core: &Arc<Core>) -> Option<Arc<dyn Model>> {
        None
    }
    pub(super) fn top(&self, _slot: &Slot) -> Option<Arc<dyn Model>> {
        None
    }
    pub(super) fn names_version(&self, _version: u64) -> bool {
        false
    }
}
