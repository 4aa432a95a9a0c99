//! Operators as functions of one row: the parts of the tabular fast path.
//!
//! A pipeline of classical operators (imputer, scaler, linear model, tree ensemble, small MLP)
//! is compiled by `plan::rowwise` into one program over registers in a scratch slice; nothing
//! there allocates and no tensor is made. A kernel takes part by answering [`Kernel::row_op`].
//!
//! A program is one of `f32` or one of `f64`, as the model's input is; few operators know both.
//!
//! Its registers hold what ONNX has in other types, too, where that is exact: whole numbers, bools,
//! floats in a program of doubles. Texts are no registers: what reads them
//! ([`Kernel::text_part`]) reads the caller's own.
//!
//! [`Kernel::row_op`]: super::Kernel::row_op
//! [`Kernel::text_part`]: super::Kernel::text_part

use super::Kernel;
use crate::tensor::{Data, Element, ElementType};

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

/// An operator that a product before it can do as it writes its results, with the same bits.
#[derive(Debug, Clone, Copy)]
pub enum Follower<'a, T> {
    /// Adds the same row to each row.
    Add(&'a [T]),
    /// What is below 0 becomes 0.
    Relu,
}

/// The operators that a product does as well, in this order.
#[derive(Debug, Clone, Copy)]
pub struct Followers<'a, T> {
    /// The row to add.
    pub add: Option<&'a [T]>,
    /// Whether what is below 0 becomes 0.
    pub relu: bool,
}

/// A kernel seen as a function of single rows of numbers.
pub trait RowOp<T: RowNumber = f32>: Send + Sync {
    /// What comes out for inputs of these widths; `None` when the operator refuses them (the
    /// general path then reports why).
    fn shape(&self, inputs: &[usize]) -> Option<RowShape>;

    /// Computes `rows` rows. `inputs[i]` holds `rows × width_i` values row-major, `out` takes
    /// `rows × shape.width`, and a classifier writes the index of each row's class to `classes`
    /// (empty for other operators). Inputs that are constants of the graph are the kernel's own
    /// and do not appear here.
    fn run_rows(&self, rows: usize, inputs: &[&[T]], out: &mut [T], classes: &mut [u32]);

    /// The type of the values that it answers for inputs of these types, as ONNX has them; `None`
    /// where it refuses them.
    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        inputs.iter().all(|&t| t == T::TYPE).then_some(T::TYPE)
    }

    /// Whether what it answers is its only input as it stands, for an input of this type.
    fn keeps(&self, _: ElementType) -> bool {
        false
    }

    /// What this operator is to a product before it.
    fn follower(&self) -> Option<Follower<'_, T>> {
        None
    }

    /// Whether [`RowOp::run_rows_with`] does these, too.
    fn takes(&self, _: Followers<'_, T>) -> bool {
        false
    }

    /// As [`RowOp::run_rows`] and then these, which it said that it takes.
    fn run_rows_with(&self, rows: usize, inputs: &[&[T]], out: &mut [T], _: Followers<'_, T>) {
        self.run_rows(rows, inputs, out, &mut []);
    }

    /// What a row of zeros but for some columns becomes, where the operator need not look at the
    /// zeros.
    fn sparsity(&self) -> Option<Sparsity> {
        None
    }

    /// As [`RowOp::run_rows`] for one row whose first input is zero but at the columns `support`,
    /// which ascend; for [`Sparsity::Kept`], `out` is all zeros. `false` where a zero would become
    /// something else.
    fn run_sparse(&self, _: &[u32], _: &[&[T]], _: &mut [T], _: &mut [u32]) -> bool {
        false
    }

    /// The class labels by index, for classifiers.
    fn labels(&self) -> Option<crate::tensor::Tensor> {
        None
    }
}

/// What an operator makes of a row of zeros but for some columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sparsity {
    /// A row that is zero where it was.
    Kept,
    /// Other numbers.
    Lost,
}

/// The one type of inputs that are moved, whatever it is.
pub(super) fn same_type(inputs: &[ElementType]) -> Option<ElementType> {
    let (first, rest) = inputs.split_first()?;
    rest.iter().all(|t| t == first).then_some(*first)
}

/// `f32` for inputs that a model of ai.onnx.ml takes as floats: floats, and whole numbers.
pub(super) fn as_floats(inputs: &[ElementType]) -> Option<ElementType> {
    let number = |t: &ElementType| {
        matches!(t, ElementType::F32 | ElementType::I64 | ElementType::I32 | ElementType::Bool)
    };
    inputs.iter().all(number).then_some(ElementType::F32)
}

/// What a kernel does to the texts of rows.
pub enum TextPart<'a> {
    /// A text becomes another text.
    Map(&'a dyn TextMap),
    /// A text becomes tokens.
    Split(&'a dyn TextSplit),
    /// Tokens become numbers.
    Count(&'a dyn TokenCount),
    /// A text, or a number, becomes the number of a known value.
    Encode(&'a dyn Encoder),
}

/// A kernel as a function from text to text.
pub trait TextMap {
    /// Appends what `text` becomes.
    fn map(&self, text: &str, out: &mut String);
}

/// A kernel as a function from a text to its tokens.
pub trait TextSplit {
    /// Calls `each` with the tokens in order.
    fn split(&self, text: &str, each: &mut dyn FnMut(&str));
    /// What rows of fewer tokens are filled up with, in a batch.
    fn padding(&self) -> &str;
}

/// A kernel as a function from the tokens of a row to numbers.
pub trait TokenCount {
    /// Numbers a row.
    fn width(&self) -> usize;
    /// The number of a token; of every unknown one the same.
    fn number(&self, token: &str) -> u32;
    /// Whether a token makes no difference.
    fn is_unknown(&self, token: &str) -> bool;
    /// Calls `each` with the column of every n-gram that a row's tokens have, as often as it is
    /// there; columns are below `width`.
    fn tally(&self, numbers: &[u32], each: &mut dyn FnMut(u32));
    /// What a column holds whose n-gram was there `count` times, once or more.
    fn weigh(&self, column: u32, count: f32) -> f32;
}

/// A kernel as a function from single values to codes.
pub trait Encoder {
    /// Whether its keys are texts; numbers otherwise.
    fn reads_text(&self) -> bool;
    /// Whether it takes numbers of this type.
    fn takes(&self, numbers: ElementType) -> bool;
    /// The position of a text among the keys.
    fn of_text(&self, text: &str) -> Option<usize>;
    /// The position of a number among the keys.
    fn of_number(&self, number: f64) -> Option<usize>;
    /// What a position becomes.
    fn encoding(&self) -> Encoding<'_>;
}

/// What the position of a known value becomes.
#[derive(Debug, Clone, Copy)]
pub enum Encoding<'a> {
    /// A row of zeros with a one at the position.
    OneHot {
        /// Values of the row.
        categories: usize,
        /// What is unknown is a row of zeros, not an error.
        zeros: bool,
    },
    /// The value at that position.
    Values {
        /// By position.
        values: &'a Data,
        /// The one value of what is unknown.
        default: &'a Data,
    },
}
