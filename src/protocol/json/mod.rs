//! JSON straight into typed tensors, and back: no tree of values in between.

mod base64;
mod element;
mod number;
mod read;
mod tensor;
mod write;

pub(super) use base64::decode as base64_decode;
pub(super) use element::JsonElement;
pub(super) use read::{Kind, Limits, Reader};
pub(super) use tensor::Nesting;
pub(super) use write::{JsonWrite, Style, empty_lists, nested, string, values};
