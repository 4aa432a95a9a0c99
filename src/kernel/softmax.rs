//! Softmax, LogSoftmax, Hardmax.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
