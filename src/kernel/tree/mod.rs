//! Tree ensembles of ai.onnx.ml: one compact form, read from three operators.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
