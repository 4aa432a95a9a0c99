//! Operators as functions of one row: the parts of the tabular fast path.
//!
//! A pipeline of classical operators (imputer, scaler, linear model, tree ensemble, small MLP)
//! is compiled by `plan::rowwise` into one program over registers in a scratch slice; nothing
//! there allocates and no tensor is made. A kernel takes part by answering [`Kernel::row_op`].
//!
//! [`Kernel::row_op`]: super::Kernel::row_op

/// What a row operator produces for given input widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// `f32` values a row (the scores of a classifier, the features of a transform).
    pub width: usize,
    /// Number of classes when output 0 of the operator is a class label and its scores are
    /// output 1; `None` for an operator whose only output is the `f32` row.
    pub classes: Option<usize>,
}

/// A kernel seen as a function of single rows of `f32`.
pub trait RowOp: Send + Sync {
    /// What comes out for inputs of these widths; `None` when the operator refuses them (the
    /// general path then reports why).
    fn shape(&self, inputs: &[usize]) -> Option<RowShape>;

    /// Computes `rows` rows. `inputs[i]` holds `rows × width_i` values row-major, `out` takes
    /// `rows × shape.width`, and a classifier writes the index of each row's class to `classes`
    /// (empty for other operators). Inputs that are constants of the graph are the kernel's own
    /// and do not appear here.
    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], classes: &mut [u32]);

    /// The class labels by index, for classifiers.
    fn labels(&self) -> Option<crate::tensor::Tensor> {
        None
    }
}
