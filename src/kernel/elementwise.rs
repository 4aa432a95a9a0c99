//! Arithmetic of two or more tensors with broadcasting: Add, Sub, Mul, Div, Pow, Mod, Max, Min, Sum, Mean, bit operations.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
