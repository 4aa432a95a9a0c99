//! Element types and declared types.

use super::proto::{TensorType, TypeProto};
use crate::graph::{Dim, ValueType};
use crate::limits::MAX_RANK;
use crate::tensor::ElementType;

/// The element type of that number, or its name where this crate has none.
pub(super) fn element_type(data_type: i32) -> Result<ElementType, String> {
    ElementType::from_onnx(data_type.into()).ok_or_else(|| match data_type {
        0 => "undefined".into(),
        other => format!("number {other}"),
    })
}

/// The declared type, where this crate can express it. Recursion is bounded by the depth that
/// the wire scan allows.
pub(super) fn value_type(proto: &TypeProto) -> Option<ValueType> {
    if let Some(tensor) = &proto.tensor_type {
        let dtype = element_type(tensor.elem_type).ok()?;
        return Some(ValueType::Tensor { dtype, dims: dims(tensor) });
    }
    if let Some(sequence) = &proto.sequence_type {
        return Some(ValueType::Sequence(Box::new(value_type(sequence.elem_type.as_ref()?)?)));
    }
    if let Some(map) = &proto.map_type {
        let key = element_type(map.key_type).ok()?;
        let value = Box::new(value_type(map.value_type.as_ref()?)?);
        return Some(ValueType::Map { key, value });
    }
    let optional = proto.optional_type.as_ref()?;
    Some(ValueType::Optional(Box::new(value_type(optional.elem_type.as_ref()?)?)))
}

/// The name of a type that [`value_type`] cannot express though the file declares it.
pub(super) fn unsupported(proto: &TypeProto) -> Option<String> {
    if proto.sparse_tensor_type.is_some() {
        return Some("a sparse tensor".into());
    }
    let tensor = proto.tensor_type.as_ref()?;
    // "Undefined" says nothing about the type; it is no type.
    if tensor.elem_type == 0 { None } else { element_type(tensor.elem_type).err() }
}

fn dims(tensor: &TensorType) -> Option<Vec<Dim>> {
    let dims = &tensor.shape.as_ref()?.dim;
    if dims.len() > MAX_RANK {
        return None;
    }
    let dim = |d: &super::proto::Dimension| match d.dim_value {
        Some(n) => usize::try_from(n).map_or(Dim::Unknown, Dim::Fixed),
        None if d.dim_param.is_empty() => Dim::Unknown,
        None => Dim::Symbol(d.dim_param.clone()),
    };
    Some(dims.iter().map(dim).collect())
}
