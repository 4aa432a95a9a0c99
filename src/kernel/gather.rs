//! Gather, GatherElements, GatherND.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
