//! Normalisations: batch, layer, instance, group, RMS, Lp, mean-variance, local response.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
