//! Row-wise feature transforms of ai.onnx.ml: Scaler, Normalizer, Binarizer, Imputer.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
