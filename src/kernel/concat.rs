//! Concat and Split.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
