//! Element types and declared types.

use super::proto::{TensorType, TypeProto};
use crate::graph::{Dim, ValueType};
use crate::limits::MAX_RANK;
use crate::tensor::ElementType;

/// The element type of that number, or its name where this crate has none.
pub(super) fn element_type(data_type: i32) -> Result<ElementType, String> {
    Ok(match data_type {
        1 => ElementType::F32,
        2 => ElementType::U8,
        3 => ElementType::I8,
        4 => ElementType::U16,
        5 => ElementType::I16,
        6 => ElementType::I32,
        7 => ElementType::I64,
        8 => ElementType::String,
        9 => ElementType::Bool,
        10 => ElementType::F16,
        11 => ElementType::F64,
        12 => ElementType::U32,
        13 => ElementType::U64,
        16 => ElementType::BF16,
        0 => return Err("undefined".into()),
        14 => return Err("complex64".into()),
        15 => return Err("complex128".into()),
        17 => return Err("float8e4m3fn".into()),
        18 => return Err("float8e4m3fnuz".into()),
        19 => return Err("float8e5m2".into()),
        20 => return Err("float8e5m2fnuz".into()),
        21 => return Err("uint4".into()),
        22 => return Err("int4".into()),
        23 => return Err("float4e2m1".into()),
        24 => return Err("float8e8m0".into()),
        25 => return Err("uint2".into()),
        26 => return Err("int2".into()),
        27 => return Err("float6e2m3".into()),
        28 => return Err("float6e3m2".into()),
        other => return Err(format!("number {other}")),
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
