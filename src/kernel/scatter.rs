//! Scatter, ScatterElements, ScatterND.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
