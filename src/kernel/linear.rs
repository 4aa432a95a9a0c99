//! Linear models of ai.onnx.ml: LinearClassifier, LinearRegressor.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
