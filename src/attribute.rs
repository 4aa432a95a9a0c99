//! The attributes of a node: plain values, read with typed accessors that name what is wrong.

use crate::ensemble::Booster;
use crate::error::{Result, err};
use crate::tensor::Tensor;
use bytes::Bytes;
use std::sync::Arc;

/// One attribute's value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // ONNX's AttributeProto types
pub enum Attribute {
    Int(i64),
    Float(f32),
    /// Bytes: nearly always UTF-8, but the format does not promise it.
    String(Vec<u8>),
    Tensor(Tensor),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    /// As [`Attribute::String`]; slices of the file's own bytes.
    Strings(Vec<Bytes>),
    /// A native file of a boosting library, or an ensemble: no type of ONNX's.
    Booster(Arc<Booster>),
}

impl Attribute {
    fn type_name(&self) -> &'static str {
        match self {
            Attribute::Int(_) => "int",
            Attribute::Float(_) => "float",
            Attribute::String(_) => "string",
            Attribute::Tensor(_) => "tensor",
            Attribute::Ints(_) => "ints",
            Attribute::Floats(_) => "floats",
            Attribute::Strings(_) => "strings",
            Attribute::Booster(_) => "booster",
        }
    }
}

/// The attributes of one node, by name; clones share them, since trees are attributes. Sub-graphs
/// are kept apart (see `graph::Node`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attributes {
    entries: Arc<Vec<(String, Attribute)>>,
}

fn wrong(name: &str, expected: &str, got: &Attribute) -> crate::Error {
    err!(InvalidModel, "attribute '{name}' is of type {}, expected {expected}", got.type_name())
}

fn text(name: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| err!(InvalidModel, "attribute '{name}' is not valid UTF-8"))
}

impl Attributes {
    /// Adds or replaces an attribute.
    pub fn set(&mut self, name: impl Into<String>, value: Attribute) {
        let name = name.into();
        let entries = Arc::make_mut(&mut self.entries);
        match entries.iter_mut().find(|(n, _)| *n == name) {
            Some((_, v)) => *v = value,
            None => entries.push((name, value)),
        }
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The tensor of that name, taken out, or `None` where absent.
    pub fn take_tensor(&mut self, name: &str) -> Result<Option<Tensor>> {
        if self.tensor_opt(name)?.is_none() {
            return Ok(None);
        }
        let entries = Arc::make_mut(&mut self.entries);
        let at = entries.iter().position(|(n, _)| n == name);
        Ok(at.and_then(|at| match entries.remove(at).1 {
            Attribute::Tensor(tensor) => Some(tensor),
            _ => None,
        }))
    }

    /// All attributes in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// An int, or `None` where absent.
    pub fn int_opt(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Int(v)) => Ok(Some(*v)),
            Some(other) => Err(wrong(name, "int", other)),
        }
    }

    /// An int with its default.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int_opt(name)?.unwrap_or(default))
    }

    /// A float, or `None` where absent.
    pub fn float_opt(&self, name: &str) -> Result<Option<f32>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Float(v)) => Ok(Some(*v)),
            Some(other) => Err(wrong(name, "float", other)),
        }
    }

    /// A float with its default.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.float_opt(name)?.unwrap_or(default))
    }

    /// A string, or `None` where absent.
    pub fn str_opt(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::String(v)) => text(name, v).map(Some),
            Some(other) => Err(wrong(name, "string", other)),
        }
    }

    /// A string with its default.
    pub fn str(&self, name: &str, default: &str) -> Result<String> {
        Ok(self.str_opt(name)?.unwrap_or_else(|| default.to_string()))
    }

    /// A list of ints, or `None` where absent.
    pub fn ints_opt(&self, name: &str) -> Result<Option<&[i64]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v)),
            // An empty list carries no type of its own in some exporters' files.
            Some(Attribute::Floats(v)) if v.is_empty() => Ok(Some(&[])),
            Some(Attribute::Strings(v)) if v.is_empty() => Ok(Some(&[])),
            Some(other) => Err(wrong(name, "ints", other)),
        }
    }

    /// A list of ints; empty where absent.
    pub fn ints(&self, name: &str) -> Result<&[i64]> {
        Ok(self.ints_opt(name)?.unwrap_or(&[]))
    }

    /// A list of floats, or `None` where absent.
    pub fn floats_opt(&self, name: &str) -> Result<Option<&[f32]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v)),
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(&[])),
            Some(Attribute::Strings(v)) if v.is_empty() => Ok(Some(&[])),
            Some(other) => Err(wrong(name, "floats", other)),
        }
    }

    /// A list of floats; empty where absent.
    pub fn floats(&self, name: &str) -> Result<&[f32]> {
        Ok(self.floats_opt(name)?.unwrap_or(&[]))
    }

    /// A list of strings, or `None` where absent.
    pub fn strs_opt(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Strings(v)) => {
                v.iter().map(|s| text(name, s)).collect::<Result<_>>().map(Some)
            }
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(vec![])),
            Some(Attribute::Floats(v)) if v.is_empty() => Ok(Some(vec![])),
            Some(other) => Err(wrong(name, "strings", other)),
        }
    }

    /// A list of strings; empty where absent.
    pub fn strs(&self, name: &str) -> Result<Vec<String>> {
        Ok(self.strs_opt(name)?.unwrap_or_default())
    }

    /// A tensor, or `None` where absent.
    pub fn tensor_opt(&self, name: &str) -> Result<Option<&Tensor>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(v)) => Ok(Some(v)),
            Some(other) => Err(wrong(name, "tensor", other)),
        }
    }

    /// A booster, or `None` where absent.
    pub fn booster_opt(&self, name: &str) -> Result<Option<&Arc<Booster>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Booster(v)) => Ok(Some(v)),
            Some(other) => Err(wrong(name, "booster", other)),
        }
    }

    /// `true` when an int attribute is there and not 0.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name, i64::from(default))? != 0)
    }
}
