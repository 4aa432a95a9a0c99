//! Convolutions: Conv, ConvTranspose.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
