//! The right-hand side of an integer product, made ready once where it is constant.

use super::level::{with_bytes, zeros};
use super::lines::{Direction, Lines};
use super::product::{Rows, padded, turn};
use crate::error::Result;
use crate::kernel::OpSpec;
use crate::tensor::{Shape, Tensor};
use smallvec::SmallVec;

/// A stack of matrices of 8-bit integers: their columns, less their zero points, as rows of
/// 16-bit integers.
pub(super) struct Columns {
    /// The dimensions of the tensor it is made from.
    pub dims: SmallVec<[usize; 4]>,
    /// The columns of a matrix.
    pub n: usize,
    step: usize,
    data: Vec<i16>,
}

impl Columns {
    /// The matrices of `b`; a vector is one column.
    pub fn new(op: &str, b: &Tensor, zero: &Lines<i16>) -> Result<Columns> {
        let (k, n) = match b.dims() {
            [] => (1, 1),
            &[k] => (k, 1),
            &[.., k, n] => (k, n),
        };
        let step = padded(k);
        let size = Shape::new(&[n, step])?.len();
        let matrices = if b.len() == 0 { 0 } else { b.len() / (k * n) };
        let mut data = vec![0i16; Shape::new(&[matrices, size])?.len()];
        with_bytes!(op, b, v => {
            let pairs = data.chunks_mut(size.max(1)).zip(v.chunks((k * n).max(1)));
            for (i, (data, v)) in pairs.enumerate() {
                turn(v, n, step, |column| zero.at(i, column).unwrap_or(0), data);
            }
            Ok(())
        })?;
        Ok(Columns { dims: SmallVec::from_slice(b.dims()), n, step, data })
    }

    /// As [`Columns::new`], for input `b` of a node with zero points as input `zero`, where both
    /// are constant.
    pub fn constant(spec: &OpSpec<'_>, b: usize, zero: usize) -> Result<Option<Columns>> {
        let Some(tensor) = spec.constant(b) else { return Ok(None) };
        if spec.has_input(zero) && spec.constant(zero).is_none() {
            return Ok(None);
        }
        let columns = Columns::of(spec.op, tensor, spec.constant(zero));
        columns.map(Some).map_err(|e| spec.invalid(e.message()))
    }

    /// The matrices of `b` with the zero points of a tensor: one, or one a column.
    pub fn of(op: &str, b: &Tensor, zero: Option<&Tensor>) -> Result<Columns> {
        let what = "the zero point of B";
        let zero = match zero {
            Some(t) => {
                let values = zeros(Some(t), b.dtype(), what)?;
                Lines::new(values, t.dims(), b.dims(), Direction::Column, what)?
            }
            None => Lines::all(0),
        };
        Columns::new(op, b, &zero)
    }

    /// The columns of matrix `i`.
    pub fn matrix(&self, i: usize) -> Rows<'_> {
        Rows::new(&self.data, self.step, 0).part(i * self.n, self.n)
    }

    /// Elements of a row, padding included.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.data.len() * size_of::<i16>()) as u64
    }
}
