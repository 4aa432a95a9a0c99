//! Matrix products: MatMul, Gemm, with weights packed at load.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
