//! The operands of element-wise operators on the tabular fast path: rows of the request, or one
//! constant row for all of them.

use crate::kernel::{OpSpec, RowNumber};
use crate::tensor::Tensor;
use smallvec::SmallVec;

/// One operand.
enum Operand {
    /// Rows of the request.
    Input,
    /// A constant that is the same row for every row of the request.
    Row(Tensor),
    /// Another constant.
    Constant,
}

/// The operands of an operator that takes `N` of them.
pub struct Operands<const N: usize>([Operand; N]);

/// An operand of some rows: its values, values a row, and whether they are the same each row.
#[derive(Clone, Copy)]
pub struct Rows<'r, T> {
    /// The values.
    pub values: &'r [T],
    /// Values a row.
    pub width: usize,
    fixed: bool,
}

impl<'r, T> Rows<'r, T> {
    /// Row `i`.
    pub fn row(&self, i: usize) -> &'r [T] {
        let at = if self.fixed { 0 } else { i * self.width };
        self.values.get(at..at + self.width).unwrap_or_default()
    }
}

impl<const N: usize> Operands<N> {
    /// The first `N` inputs of a node.
    pub fn new(spec: &OpSpec<'_>) -> Operands<N> {
        Operands(std::array::from_fn(|i| match spec.constant(i) {
            None => Operand::Input,
            Some(constant) => match constant.dims() {
                [] | [_] | [1, _] if constant.len() > 0 => Operand::Row(constant.clone()),
                _ => Operand::Constant,
            },
        }))
    }

    /// Whether the operator is one of rows of `T`: rows of the request among its operands, and
    /// constants that are rows of `T`.
    pub fn fits<T: RowNumber>(&self) -> bool {
        let constant = |o: &Operand| match o {
            Operand::Input => true,
            Operand::Row(row) => row.dtype() == T::TYPE,
            Operand::Constant => false,
        };
        self.0.iter().any(|o| matches!(o, Operand::Input)) && self.0.iter().all(constant)
    }

    /// The constant row that operand `i` is.
    pub fn row<T: RowNumber>(&self, i: usize) -> Option<&[T]> {
        match self.0.get(i) {
            Some(Operand::Row(row)) => row.as_slice().ok(),
            _ => None,
        }
    }

    /// Whether operand `i` comes with the request.
    pub fn is_input(&self, i: usize) -> bool {
        matches!(self.0.get(i), Some(Operand::Input))
    }

    /// The first operand that is the same row each row.
    pub fn constant_row<T: RowNumber>(&self) -> Option<&[T]> {
        self.0.iter().find_map(|operand| match operand {
            Operand::Row(row) => row.as_slice::<T>().ok(),
            _ => None,
        })
    }

    /// Values of a row of the result, for inputs of these widths: operands of one value are spread.
    pub fn width(&self, inputs: &[usize]) -> Option<usize> {
        let mut inputs = inputs.iter().copied();
        let mut widths: SmallVec<[usize; 3]> = SmallVec::new();
        for operand in &self.0 {
            widths.push(match operand {
                Operand::Row(row) => row.len(),
                _ => inputs.next()?,
            });
        }
        let widest = widths.iter().copied().max()?;
        let fits = inputs.next().is_none() && widths.iter().all(|&w| w == 1 || w == widest);
        (fits && widths.iter().all(|&w| w > 0)).then_some(widest)
    }

    /// The operands of `rows` rows.
    pub fn rows<'r, T: RowNumber>(
        &'r self,
        rows: usize,
        inputs: &[&'r [T]],
    ) -> Option<[Rows<'r, T>; N]> {
        let mut inputs = inputs.iter();
        let mut found: SmallVec<[Rows<'r, T>; N]> = SmallVec::new();
        for operand in &self.0 {
            found.push(match operand {
                Operand::Row(row) => {
                    let values = row.as_slice::<T>().ok()?;
                    Rows { values, width: values.len(), fixed: true }
                }
                _ => {
                    let values = *inputs.next()?;
                    Rows { values, width: values.len() / rows.max(1), fixed: false }
                }
            });
        }
        found.into_inner().ok()
    }
}
