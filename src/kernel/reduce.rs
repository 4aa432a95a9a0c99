//! Reductions over axes, ArgMax, ArgMin, CumSum.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
