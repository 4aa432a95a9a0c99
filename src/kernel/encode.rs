//! Encoders of ai.onnx.ml: OneHotEncoder, LabelEncoder, CategoryMapper, DictVectorizer.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
