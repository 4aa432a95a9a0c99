//! Operator implementations.
//!
//! A kernel is prepared once, from a node's attributes and constant inputs, and run many times
//! from any number of threads. Kernels see tensors and attributes, never the graph. One file a
//! family; each lists its operators in a table `OPS` that [`registry`] collects.

mod algebra;
mod arena;
mod attention;
mod bit_cast;
pub(crate) mod cast;
mod channels_last;
mod classes;
mod compare;
mod concat;
mod context;
mod conv;
mod crop_and_resize;
mod determinant;
mod einsum;
mod elementwise;
mod encode;
mod expand;
mod experimental;
mod feature;
mod gather;
mod generate;
pub(crate) mod heap;
#[cfg(test)]
mod hostile;
#[cfg(feature = "images")]
mod image;
mod inner;
mod linear;
mod loss;
mod matmul;
mod normalization;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod reference;
pub mod registry;
mod reshape;
mod resize;
mod row;
mod scale;
mod scatter;
mod select;
mod sequence;
mod signal;
mod simd;
mod slice;
mod softmax;
mod spec;
mod svm;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod transpose;
mod tree;
mod unary;
mod vision;

pub use arena::Arena;
pub use context::{Arg, Context, Inputs};
pub use row::{
    Encoder, Encoding, Follower, Followers, RowNumber, RowOp, RowShape, Sparsity, TextMap,
    TextPart, TextSplit, TokenCount,
};
pub use spec::{InputSpec, OpSpec};

use crate::error::Result;
use crate::tensor::Value;
use smallvec::SmallVec;

/// What a kernel answers: one value per output of the operator, in order. A kernel with trailing
/// optional outputs may leave them out when [`OpSpec::wants`] says nobody reads them.
pub type Outputs = SmallVec<[Value; 2]>;

/// A prepared operator.
pub trait Kernel: Send + Sync {
    /// Computes the outputs for these inputs.
    ///
    /// # Errors
    /// `InvalidInput` where the inputs do not fit the operator (shape, dtype, index out of
    /// range), `LimitExceeded` where the output would be too large; never a panic.
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs>;

    /// The same operator as a function of one row of `f32`, where it is one: the tabular fast
    /// path is made of these. Must give the same bits as [`Kernel::run`] on that row.
    fn row_op(&self) -> Option<&dyn RowOp> {
        None
    }

    /// As [`Kernel::row_op`], for rows of `f64`.
    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        None
    }

    /// The same operator as a function of the texts of one row, where it is one.
    fn text_part(&self) -> Option<TextPart<'_>> {
        None
    }

    /// Whether the kernel has what it needs of constant input `i`: the plan then keeps it for
    /// others only, and the kernel finds the input absent.
    fn holds(&self, _i: usize) -> bool {
        false
    }

    /// How often candle's operator computed this step, for a kernel that has one to turn to.
    fn candle_runs(&self) -> Option<u64> {
        None
    }

    /// Whether equal inputs may get different outputs: such a step is not folded, and a model with
    /// one is not deterministic.
    fn is_random(&self) -> bool {
        false
    }

    /// Bytes this kernel keeps beyond the graph's constants (packed weights, compact trees).
    fn packed_bytes(&self) -> u64 {
        0
    }
}

/// Wraps one output.
pub fn one(value: impl Into<Value>) -> Result<Outputs> {
    Ok(smallvec::smallvec![value.into()])
}
