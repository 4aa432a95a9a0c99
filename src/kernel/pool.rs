//! Pooling: MaxPool, AveragePool, LpPool and their global forms.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
