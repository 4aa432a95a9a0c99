//! Outputs that are no tensors, as tensors: what the protocols have a form for.

use super::fault::{Fault, Outcome};
use crate::error::ErrorKind;
use crate::graph::{Dim, ValueType};
use crate::model::{Classes, Signature, TensorSpec};
use crate::tensor::{Data, ElementType, Map, Shape, Tensor, Value};

/// An output as a tensor. A sequence of maps with the same keys (what ZipMap answers: a map from
/// class to probability for each row) becomes `[rows, keys]`, columns in the order of the keys; a
/// sequence of tensors of one shape is stacked.
///
/// # Errors
/// `Unsupported` naming the output, for what no tensor can hold.
pub(super) fn tensor(name: &str, value: Value) -> Outcome<Tensor> {
    let other = |value: &Value| {
        Fault::own(
            ErrorKind::Unsupported,
            format!(
                "output '{name}' is a {} that no tensor can hold: ask for other outputs",
                value.type_name()
            ),
        )
    };
    match value {
        Value::Tensor(tensor) => Ok(tensor),
        Value::Optional(Some(inner)) => tensor(name, *inner),
        Value::Sequence(items) => {
            let rows: Option<Vec<Tensor>> = match items.first() {
                Some(Value::Map(first)) => items.iter().map(|item| row_of(item, first)).collect(),
                _ => items.iter().map(|item| item.as_tensor().ok().and_then(as_row)).collect(),
            };
            let joined = rows.and_then(|rows| match rows.is_empty() {
                true => Tensor::from_vec::<f32>(&[0], Vec::new()).ok(),
                false => Tensor::concat_rows(&rows).ok(),
            });
            joined.ok_or_else(|| other(&Value::Sequence(Vec::new())))
        }
        rest => Err(other(&rest)),
    }
}

/// A tensor with one more axis in front.
fn as_row(tensor: &Tensor) -> Option<Tensor> {
    let mut dims = vec![1];
    dims.extend_from_slice(tensor.dims());
    tensor.clone().reshaped(Shape::new(&dims).ok()?).ok()
}

/// The values of a map with the keys of `first`, as a row.
fn row_of(item: &Value, first: &Map) -> Option<Tensor> {
    let Value::Map(map) = item else { return None };
    let same = map.entries.iter().map(|(k, _)| k).eq(first.entries.iter().map(|(k, _)| k));
    if !same {
        return None;
    }
    let mut values = Vec::with_capacity(map.entries.len());
    let mut double = false;
    for (_, value) in &map.entries {
        let tensor = value.as_tensor().ok().filter(|t| t.len() == 1)?;
        double |= tensor.dtype() == ElementType::F64;
        values.extend(tensor.to_f64_vec().ok()?);
    }
    let dims = [1, values.len()];
    let data = match double {
        true => Data::F64(values),
        false => Data::F32(values.into_iter().map(|x| x as f32).collect()),
    };
    Tensor::new(Shape::new(&dims).ok()?, data).ok()
}

/// An input or output as a protocol describes it: its element type, and its dimensions with
/// `None` where they vary; `None` for dimensions where even their number is unknown.
pub(super) struct Described {
    pub dtype: ElementType,
    pub dims: Option<Vec<Option<usize>>>,
}

/// Describes a value; `None` for one that is no tensor and becomes none, or of unknown type.
pub(super) fn describe(spec: &TensorSpec, signature: &Signature) -> Option<Described> {
    let known = |dims: &Vec<Dim>| {
        dims.iter()
            .map(|dim| match dim {
                Dim::Fixed(n) => Some(*n),
                _ => None,
            })
            .collect()
    };
    let (dtype, dims) = match spec.ty.as_ref()? {
        ValueType::Tensor { dtype, dims } => (*dtype, dims.as_ref().map(known)),
        ValueType::Sequence(inner) => match &**inner {
            ValueType::Map { value, .. } => {
                let classes = signature.classes.as_deref().map(Classes::len);
                (element(value)?, Some(vec![None, classes]))
            }
            ValueType::Tensor { dtype, dims } => {
                let inner = dims.as_ref().map(known);
                (*dtype, inner.map(|dims| [None].into_iter().chain(dims).collect()))
            }
            _ => return None,
        },
        ValueType::Optional(inner) => (element(inner)?, None),
        ValueType::Map { .. } => return None,
    };
    Some(Described { dtype, dims })
}

fn element(ty: &ValueType) -> Option<ElementType> {
    match ty {
        ValueType::Tensor { dtype, .. } => Some(*dtype),
        _ => None,
    }
}

/// The text of class `i`, where the labels are known.
pub(super) fn class_label(classes: Option<&Classes>, i: usize) -> Option<String> {
    match classes? {
        Classes::Int(all) => all.get(i).map(i64::to_string),
        Classes::Str(all) => all.get(i).map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::MapKey;

    fn map(entries: &[(i64, f32)]) -> Value {
        let entry = |(k, v): &(i64, f32)| (MapKey::Int(*k), Tensor::scalar(*v).into());
        Value::Map(Map { entries: entries.iter().map(entry).collect() })
    }

    #[test]
    fn zip_maps_become_a_matrix() {
        let rows = vec![map(&[(0, 0.25), (1, 0.75)]), map(&[(0, 1.0), (1, 0.0)])];
        let t = tensor("p", Value::Sequence(rows)).unwrap();
        assert_eq!(
            (t.dims(), t.as_slice::<f32>().unwrap()),
            (&[2, 2][..], &[0.25, 0.75, 1.0, 0.0][..])
        );
        let uneven = vec![map(&[(0, 0.25)]), map(&[(1, 1.0)])];
        let fault = tensor("p", Value::Sequence(uneven)).unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Unsupported);
        assert!(fault.message().contains("'p'"));
        assert!(tensor("p", map(&[(0, 1.0)])).is_err());
        assert!(tensor("p", Value::Optional(None)).is_err());
        let parts = vec![Tensor::scalar(1i64).into(), Tensor::scalar(2i64).into()];
        assert_eq!(tensor("s", Value::Sequence(parts)).unwrap().dims(), [2]);
        assert_eq!(tensor("s", Value::Sequence(vec![])).unwrap().dims(), [0]);
    }
}
