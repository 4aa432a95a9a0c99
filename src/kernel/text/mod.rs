//! Text: StringNormalizer, Tokenizer, TfIdfVectorizer.

use super::registry::Entry;

pub(super) const OPS: &[Entry] = &[];
