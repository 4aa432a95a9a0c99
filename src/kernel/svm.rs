//! Support vector machines of ai.onnx.ml: SVMClassifier, SVMRegressor.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
