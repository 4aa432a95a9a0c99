//! Operators as functions of one row: the parts of the tabular fast path.
//!
//! A pipeline of classical operators (imputer, scaler, linear model, tree ensemble, small MLP)
//! is compiled by `plan::rowwise` into one program over registers in a scratch slice; nothing
//! there allocates and no tensor is made. A kernel takes part by answering [`Kernel::row_op`].
//!
//! A program is one of `f32` or one of `f64`, as the model's input is; few operators know both.
//!
//! [`Kernel::row_op`]: super::Kernel::row_op

use super::Kernel;
use crate::tensor::{Element, ElementType};

/// What a row operator produces for given input widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Values a row (the scores of a classifier, the features of a transform).
    pub width: usize,
    /// Number of classes when output 0 of the operator is a class label and its scores are
    /// output 1; `None` for an operator whose only output is the row of values.
    pub classes: Option<usize>,
}

/// The numbers of a row program.
pub trait RowNumber: Element + Copy + Default + PartialOrd + Into<f64> {
    /// Their element type.
    const TYPE: ElementType;
    /// The kernel as a function of such rows.
    fn op(kernel: &dyn Kernel) -> Option<&dyn RowOp<Self>>;
    /// The nearest number.
    fn of(value: f64) -> Self;
    /// Numbers of `f32` as numbers of this type, where that is the same type.
    fn from_f32(values: &[f32]) -> Option<&[Self]>;
    /// Numbers of `f64` as numbers of this type, where that is the same type.
    fn from_f64(values: &[f64]) -> Option<&[Self]>;
}

impl RowNumber for f32 {
    const TYPE: ElementType = ElementType::F32;
    fn op(kernel: &dyn Kernel) -> Option<&dyn RowOp<f32>> {
        kernel.row_op()
    }
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn from_f32(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
    fn from_f64(_: &[f64]) -> Option<&[f32]> {
        None
    }
}

impl RowNumber for f64 {
    const TYPE: ElementType = ElementType::F64;
    fn op(kernel: &dyn Kernel) -> Option<&dyn RowOp<f64>> {
        kernel.wide_row_op()
    }
    fn of(value: f64) -> f64 {
        value
    }
    fn from_f32(_: &[f32]) -> Option<&[f64]> {
        None
    }
    fn from_f64(values: &[f64]) -> Option<&[f64]> {
        Some(values)
    }
}

/// A kernel seen as a function of single rows of numbers.
pub trait RowOp<T = f32>: Send + Sync {
    /// What comes out for inputs of these widths; `None` when the operator refuses them (the
    /// general path then reports why).
    fn shape(&self, inputs: &[usize]) -> Option<RowShape>;

    /// Computes `rows` rows. `inputs[i]` holds `rows × width_i` values row-major, `out` takes
    /// `rows × shape.width`, and a classifier writes the index of each row's class to `classes`
    /// (empty for other operators). Inputs that are constants of the graph are the kernel's own
    /// and do not appear here.
    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], classes: &mut [u32]);

    /// The class labels by index, for classifiers.
    fn labels(&self) -> Option<crate::tensor::Tensor> {
        None
    }
}
