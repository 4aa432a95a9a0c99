//! Resize and Upsample.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
