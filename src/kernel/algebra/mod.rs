//! Linear algebra of ONNX Runtime's own domain: inverse matrices and pairwise distances.

mod distance;
mod inverse;

use super::registry::{Entry, microsoft};

pub(super) const OPS: &[Entry] =
    &[microsoft("CDist", distance::prepare), microsoft("Inverse", inverse::prepare)];
