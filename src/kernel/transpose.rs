//! Transpose, DepthToSpace, SpaceToDepth.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
