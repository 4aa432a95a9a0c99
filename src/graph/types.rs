//! Declared types of values.

use crate::tensor::ElementType;
use std::fmt;

/// What could not be read of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is a constant, whose content is not there or not to be understood.
    Content,
    /// The node that computes it.
    Writer,
}

/// One declared dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Varies, by a name that ties equal dimensions together.
    Symbol(String),
    /// Varies.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// The declared type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    /// A tensor; `dims` is `None` where even the rank is unknown.
    Tensor {
        /// Element type.
        dtype: ElementType,
        /// Dimensions, outermost first.
        dims: Option<Vec<Dim>>,
    },
    /// A sequence of such values.
    Sequence(Box<ValueType>),
    /// A map from keys of this type to such values.
    Map {
        /// Key type: an integer type or string.
        key: ElementType,
        /// Value type.
        value: Box<ValueType>,
    },
    /// Such a value or nothing.
    Optional(Box<ValueType>),
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Tensor { dtype, dims: None } => write!(f, "{dtype}"),
            ValueType::Tensor { dtype, dims: Some(dims) } => {
                write!(f, "{dtype}[")?;
                for (i, d) in dims.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{d}")?;
                }
                f.write_str("]")
            }
            ValueType::Sequence(t) => write!(f, "sequence<{t}>"),
            ValueType::Map { key, value } => write!(f, "map<{key}, {value}>"),
            ValueType::Optional(t) => write!(f, "optional<{t}>"),
        }
    }
}
