//! Tensors of the file put into another order, once, when the model is loaded.

use crate::error::{Result, err};
use crate::room;
use crate::tensor::{Element, ElementType, Tensor};
use std::ops::Range;

/// The tensor `[rows, columns]` turned over: PyTorch and candle keep a linear layer's weight as
/// `[out, in]`, `MatMul` wants `[in, out]`.
pub(super) fn transposed(tensor: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = tensor.dims() else {
        return Err(err!(Internal, "a matrix of rank {}", tensor.dims().len()));
    };
    fn turn<T: Copy>(v: &[T], columns: usize) -> Result<Vec<T>> {
        let column = |c: usize| v.iter().skip(c).step_by(columns.max(1)).copied();
        let mut turned = room::with_room(v.len())?;
        turned.extend((0..columns).flat_map(column));
        Ok(turned)
    }
    let dims = [columns, rows];
    match tensor.dtype() {
        ElementType::F64 => Tensor::from_vec(&dims, turn(tensor.as_slice::<f64>()?, columns)?),
        _ => Tensor::from_vec(&dims, turn(tensor.as_slice::<f32>()?, columns)?),
    }
}

/// Stretches of tensors of one type, one after another, as a tensor of these dimensions. Each
/// stretch counts along the first axis.
pub(super) fn assembled(dims: &[usize], parts: &[(&Tensor, Range<usize>)]) -> Result<Tensor> {
    fn join<T: Element + Copy>(parts: &[(&Tensor, Range<usize>)]) -> Result<Vec<T>> {
        let mut out = Vec::new();
        for (tensor, range) in parts {
            let row: usize = tensor.dims().iter().skip(1).product();
            let (from, to) = (range.start.checked_mul(row), range.end.checked_mul(row));
            let stretch = from.zip(to).and_then(|(from, to)| tensor_slice(tensor, from..to));
            let stretch =
                stretch.ok_or_else(|| err!(Internal, "rows {range:?} of {}", tensor.shape()))?;
            room::reserve(&mut out, stretch.len())?;
            out.extend_from_slice(stretch);
        }
        Ok(out)
    }
    fn tensor_slice<T: Element>(tensor: &Tensor, range: Range<usize>) -> Option<&[T]> {
        tensor.as_slice::<T>().ok()?.get(range)
    }
    match parts.first().map(|(tensor, _)| tensor.dtype()) {
        Some(ElementType::F64) => Tensor::from_vec(dims, join::<f64>(parts)?),
        _ => Tensor::from_vec(dims, join::<f32>(parts)?),
    }
}
