//! Cast and CastLike between all element types.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
