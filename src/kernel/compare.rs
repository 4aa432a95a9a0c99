//! Comparison and logic with broadcasting: Equal, Less, Greater, And, Or, Xor, Not, IsNaN, IsInf.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
