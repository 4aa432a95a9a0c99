//! Functions of one element: activations and elementary mathematics.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
