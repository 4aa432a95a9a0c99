//! What an input or output of a model can be.

use super::Tensor;
use crate::error::{Result, err};

/// One value: nearly always a tensor; classical models also answer sequences of maps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A dense tensor (of numbers, bools or strings).
    Tensor(Tensor),
    /// An ordered list of values.
    Sequence(Vec<Value>),
    /// A map, in the order of its keys as produced (ZipMap: the order of the classes).
    Map(Map),
    /// ONNX's optional: a value or nothing.
    Optional(Option<Box<Value>>),
}

/// A key of a [`Map`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapKey {
    /// An integer key.
    Int(i64),
    /// A string key.
    Str(std::sync::Arc<str>),
}

/// ONNX's map type: keys to values, insertion-ordered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// The entries in order; keys are distinct.
    pub entries: Vec<(MapKey, Value)>,
}

impl Value {
    /// The tensor inside.
    ///
    /// # Errors
    /// `InvalidInput` when this is no tensor.
    pub fn as_tensor(&self) -> Result<&Tensor> {
        match self {
            Value::Tensor(t) => Ok(t),
            other => Err(err!(InvalidInput, "expected a tensor, got a {}", other.type_name())),
        }
    }

    /// The tensor inside, owned.
    ///
    /// # Errors
    /// `InvalidInput` when this is no tensor.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self {
            Value::Tensor(t) => Ok(t),
            other => Err(err!(InvalidInput, "expected a tensor, got a {}", other.type_name())),
        }
    }

    /// `tensor`, `sequence`, `map` or `optional`, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "tensor",
            Value::Sequence(_) => "sequence",
            Value::Map(_) => "map",
            Value::Optional(_) => "optional",
        }
    }

    /// Bytes of all elements inside.
    pub fn byte_len(&self) -> u64 {
        match self {
            Value::Tensor(t) => t.byte_len(),
            Value::Sequence(v) => v.iter().map(Value::byte_len).sum(),
            Value::Map(m) => m.entries.iter().map(|(_, v)| v.byte_len().saturating_add(8)).sum(),
            Value::Optional(v) => v.as_ref().map_or(0, |v| v.byte_len()),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Value::Tensor(tensor)
    }
}
