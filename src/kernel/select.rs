//! Selection: TopK, NonZero, Compress, Unique.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
