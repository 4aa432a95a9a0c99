//! Sequences and optionals.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
