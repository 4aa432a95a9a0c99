//! Rows of a tensor: cutting along the first axis, and joining.

use super::{Carrier, ElementType, Shape, Tensor, for_each_carrier};
use crate::error::{Result, ensure, err};
use std::ops::Range;

impl Tensor {
    /// How many rows there are (the first dimension; 1 for a scalar), and the number of elements
    /// of one.
    pub fn row_layout(&self) -> (usize, usize) {
        match self.dims() {
            [] => (1, 1),
            [rows, tail @ ..] => (*rows, tail.iter().product()),
        }
    }

    /// The rows `range`, copied. All rows are answered without a copy.
    ///
    /// # Errors
    /// `InvalidInput` when there are no such rows.
    pub fn rows(&self, range: Range<usize>) -> Result<Tensor> {
        let (rows, width) = self.row_layout();
        ensure!(
            range.start <= range.end && range.end <= rows && !self.dims().is_empty(),
            InvalidInput,
            "rows {range:?} of a tensor of shape {}",
            self.shape()
        );
        if range.len() == rows {
            return Ok(self.clone());
        }
        let mut dims = self.dims().to_vec();
        if let Some(first) = dims.first_mut() {
            *first = range.len();
        }
        let cut = range.start * width..range.end * width;
        for_each_carrier!(self.data(), v => {
            let rows = v.get(cut).unwrap_or_default().to_vec();
            Tensor::moved(Shape::new(&dims)?, rows, self.dtype())
        })
    }

    /// The tensors joined along the first axis. One tensor alone is answered without a copy.
    ///
    /// # Errors
    /// `InvalidInput` when there are none, or element types or dimensions after the first differ.
    pub fn concat_rows(parts: &[Tensor]) -> Result<Tensor> {
        let first = parts.first().ok_or_else(|| err!(InvalidInput, "no tensors to join"))?;
        if parts.len() == 1 {
            return Ok(first.clone());
        }
        let tail = first.dims().get(1..).unwrap_or_default();
        let mut rows = 0usize;
        for part in parts {
            ensure!(
                part.dtype() == first.dtype()
                    && !part.dims().is_empty()
                    && part.dims().get(1..) == Some(tail),
                InvalidInput,
                "tensors {}{} and {}{} cannot be joined by rows",
                first.dtype(),
                first.shape(),
                part.dtype(),
                part.shape()
            );
            rows = rows.saturating_add(part.shape().dim(0));
        }
        let mut dims = vec![rows];
        dims.extend_from_slice(tail);
        let shape = Shape::new(&dims)?;
        fn join<T: Carrier>(
            parts: &[Tensor],
            shape: Shape,
            _: &[T],
            dtype: ElementType,
        ) -> Result<Tensor> {
            let mut all: Vec<T> = Vec::with_capacity(shape.len());
            for part in parts {
                all.extend_from_slice(&part.carried::<T>(dtype)?);
            }
            Tensor::moved(shape, all, dtype)
        }
        for_each_carrier!(first.data(), v => join(parts, shape, v, first.dtype()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_and_joining_are_inverse() {
        let t = Tensor::from_vec(&[3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let parts = [t.rows(0..1).unwrap(), t.rows(1..3).unwrap(), t.rows(3..3).unwrap()];
        assert_eq!(parts[1].as_slice::<i64>().unwrap(), [3, 4, 5, 6]);
        assert_eq!(Tensor::concat_rows(&parts).unwrap(), t);
        assert!(t.rows(2..4).is_err());
        assert!(Tensor::scalar(1f32).rows(0..1).is_err());
    }

    #[test]
    fn unlike_tensors_are_not_joined() {
        let a = Tensor::from_vec(&[1, 2], vec![1f32, 2.0]).unwrap();
        let b = Tensor::from_vec(&[1, 3], vec![1f32, 2.0, 3.0]).unwrap();
        let c = Tensor::from_vec(&[1, 2], vec![1f64, 2.0]).unwrap();
        assert!(Tensor::concat_rows(&[a.clone(), b]).is_err());
        assert!(Tensor::concat_rows(&[a, c]).is_err());
        assert!(Tensor::concat_rows(&[]).is_err());
    }
}
