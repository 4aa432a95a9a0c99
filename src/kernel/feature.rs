//! Columns and maps of ai.onnx.ml: ArrayFeatureExtractor, FeatureVectorizer, ZipMap, CastMap.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
