//! Expand, Tile, Where.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
