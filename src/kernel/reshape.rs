//! Operators that only relabel a tensor: Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout, Shape, Size.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
