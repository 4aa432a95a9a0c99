//! Text: StringNormalizer, Tokenizer, TfIdfVectorizer and the operators on single strings.

mod normalizer;
mod pattern;
mod strings;
#[cfg(test)]
mod tests;
mod tfidf;
mod tokenizer;
mod vocabulary;

use super::registry::{Entry, microsoft, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("StringNormalizer", 10, normalizer::prepare),
    onnx("TfIdfVectorizer", 9, tfidf::prepare),
    onnx("StringConcat", 20, strings::prepare_concat),
    onnx("StringSplit", 20, strings::prepare_split),
    onnx("RegexFullMatch", 20, strings::prepare_full_match),
    microsoft("Tokenizer", tokenizer::prepare),
];
