//! Sparse tensors in coordinate form, with their zeros written out.

use crate::error::{Result, ensure, err};
use crate::room;
use crate::tensor::{Element, Shape, Tensor, for_each_carrier};

/// The dense tensor of `shape` that holds `values` at `indices`: either linear positions
/// `[count]` or coordinates `[count, rank]`, ascending and without repeats. The caller has
/// checked what the dense form costs.
///
/// # Errors
/// `InvalidModel` when the parts do not fit together.
pub(super) fn densify(shape: Shape, values: &Tensor, indices: &Tensor) -> Result<Tensor> {
    ensure!(
        values.dims().len() == 1,
        InvalidModel,
        "values of shape {}, expected one dimension",
        values.shape()
    );
    let count = values.len();
    let index = indices
        .as_slice::<i64>()
        .map_err(|_| err!(InvalidModel, "indices of type {}", indices.dtype()))?;
    let positions = match indices.dims() {
        [n] if *n == count => index.iter().map(|&i| usize::try_from(i).ok()).collect(),
        [n, rank] if *n == count && *rank == shape.rank() && *rank > 0 => {
            index.chunks_exact(*rank).map(|at| linear(&shape, at)).collect()
        }
        _ => None::<Vec<usize>>,
    };
    let positions = positions.ok_or_else(|| {
        err!(
            InvalidModel,
            "indices of shape {} for {count} values in shape {shape}, or one out of range",
            indices.shape()
        )
    })?;
    ensure!(
        positions.is_sorted_by(|a, b| a < b) && positions.last().is_none_or(|&p| p < shape.len()),
        InvalidModel,
        "indices that are not ascending, repeat or pass shape {shape}"
    );
    fn scatter<T: Element>(len: usize, values: &[T], positions: &[usize]) -> Result<Vec<T>> {
        let mut dense = room::filled(len, T::default())?;
        for (value, &at) in values.iter().zip(positions) {
            if let Some(slot) = dense.get_mut(at) {
                *slot = value.clone();
            }
        }
        Ok(dense)
    }
    for_each_carrier!(values.data(), v => {
        let dense = scatter(shape.len(), v, &positions)?;
        Tensor::moved(shape, dense, values.dtype())
    })
}

/// The row-major position of coordinates, `None` where one is out of range.
fn linear(shape: &Shape, at: &[i64]) -> Option<usize> {
    at.iter().zip(shape.dims()).try_fold(0usize, |sum, (&i, &dim)| {
        let i = usize::try_from(i).ok().filter(|&i| i < dim)?;
        sum.checked_mul(dim)?.checked_add(i)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_index_forms_give_the_same_tensor() {
        let shape = Shape::new(&[2, 3]).unwrap();
        let values = Tensor::from_vec(&[2], vec![5f32, 7.0]).unwrap();
        let linear = Tensor::from_vec(&[2], vec![1i64, 5]).unwrap();
        let pairs = Tensor::from_vec(&[2, 2], vec![0i64, 1, 1, 2]).unwrap();
        let dense = densify(shape.clone(), &values, &linear).unwrap();
        assert_eq!(dense.as_slice::<f32>().unwrap(), [0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
        assert_eq!(densify(shape, &values, &pairs).unwrap(), dense);
    }

    #[test]
    fn indices_that_do_not_fit_are_refused() {
        let shape = Shape::new(&[2, 3]).unwrap();
        let values = Tensor::from_vec(&[2], vec![5f32, 7.0]).unwrap();
        for (dims, index) in [
            (&[2][..], vec![1i64, 6]),
            (&[2], vec![-1, 1]),
            (&[2], vec![1, 1]),
            (&[2], vec![2, 1]),
            (&[1], vec![1]),
            (&[2, 2], vec![0, 3, 1, 0]),
            (&[2, 1], vec![0, 1]),
        ] {
            let indices = Tensor::from_vec(dims, index).unwrap();
            assert!(densify(shape.clone(), &values, &indices).is_err(), "{indices:?}");
        }
    }
}
