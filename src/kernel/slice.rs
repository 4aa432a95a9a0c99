//! Slice and Pad.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
