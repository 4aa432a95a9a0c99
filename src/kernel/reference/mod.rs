//! Reference kernels: operators on candle's own, for the plain plan.
//!
//! They are there to be compared with, not to be fast: inputs are copied into candle tensors and
//! nothing is packed or done in place. Each stands in front of the library's own kernel and hands
//! over to it whatever candle has not, gets wrong, panics at, or would start threads of its own
//! for. So candle sees only non-empty tensors whose shapes were checked, and
//!
//! - element-wise operators run below [`SERIAL`] elements;
//! - products and convolutions run in the pool of [`Threads`](crate::threads::Threads), which
//!   rayon's work inside them stays in; anywhere else they would start rayon's global pool, which
//!   is dead in a forked child.

mod conv;
mod elementwise;
mod movement;
mod normalization;
mod product;
mod reduce;
#[cfg(test)]
mod tests;
mod unary;

use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::Result;
use crate::tensor::{Data, ElementType, Tensor};
use candle_core::Tensor as Candle;
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements from which candle's element-wise operators use a static pool of spinning threads
/// (`PAR_ELEMWISE_MIN` in candle-core 0.11's `cpu_backend/utils.rs`): a child forked after that
/// waits for it for ever.
const SERIAL: usize = 64 * 1024;

/// An operator on candle: its only output, or `None` where the library's own kernel is to take
/// these inputs (and to say what is wrong with them, if anything is).
type OnCandle = Box<dyn Fn(&Context<'_>, &Inputs<'_>) -> Option<Tensor> + Send + Sync>;

/// An operator of `ai.onnx` that candle has, and what prepares it: `None` where the node's
/// attributes ask for what candle cannot do.
type Entry = (&'static str, fn(&OpSpec<'_>) -> Option<OnCandle>);

const FAMILIES: &[&[Entry]] = &[
    conv::OPS,
    elementwise::OPS,
    movement::OPS,
    normalization::OPS,
    product::OPS,
    reduce::OPS,
    unary::OPS,
];

/// `own`, behind candle's operator where there is one for this node.
pub(super) fn on_candle(spec: &OpSpec<'_>, own: Box<dyn Kernel>) -> Box<dyn Kernel> {
    let entry = FAMILIES.iter().copied().flatten().find(|(op, _)| *op == spec.op);
    match entry.filter(|_| spec.domain.is_empty()).and_then(|(_, prepare)| prepare(spec)) {
        Some(candle) => Box::new(Composite { candle, own, runs: AtomicU64::new(0) }),
        None => own,
    }
}

/// candle's operator where it may run, else the library's own kernel.
struct Composite {
    candle: OnCandle,
    own: Box<dyn Kernel>,
    runs: AtomicU64,
}

impl Kernel for Composite {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        match (self.candle)(ctx, inputs) {
            Some(output) => {
                // A mere count: nothing else is read by it.
                self.runs.fetch_add(1, Ordering::Relaxed);
                one(output)
            }
            None => self.own.run(ctx, inputs),
        }
    }

    fn packed_bytes(&self) -> u64 {
        self.own.packed_bytes()
    }

    fn is_random(&self) -> bool {
        self.own.is_random()
    }

    fn candle_runs(&self) -> Option<u64> {
        Some(self.runs.load(Ordering::Relaxed))
    }
}

/// Boxes a closure as [`OnCandle`]; names the type for the compiler.
fn boxed(
    f: impl Fn(&Context<'_>, &Inputs<'_>) -> Option<Tensor> + Send + Sync + 'static,
) -> Option<OnCandle> {
    Some(Box::new(f))
}

/// Input `i`, where it is a tensor with elements.
fn tensor<'i>(inputs: &'i Inputs<'_>, i: usize) -> Option<&'i Tensor> {
    inputs.tensor(i).ok().filter(|t| t.len() > 0)
}

/// Input `i` of an element type that candle has too.
fn native<'i>(inputs: &'i Inputs<'_>, i: usize) -> Option<&'i Tensor> {
    use ElementType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    tensor(inputs, i)
        .filter(|t| matches!(t.dtype(), F32 | F64 | F16 | BF16 | I16 | I32 | I64 | U8 | U32))
}

/// As [`native`], or of bools, which move as bytes.
fn movable<'i>(inputs: &'i Inputs<'_>, i: usize) -> Option<&'i Tensor> {
    match tensor(inputs, i)?.dtype() {
        ElementType::Bool => tensor(inputs, i),
        _ => native(inputs, i),
    }
}

/// Input `i` of float32 or float64: the types in which candle rounds as we do.
fn floats<'i>(inputs: &'i Inputs<'_>, i: usize) -> Option<&'i Tensor> {
    tensor(inputs, i).filter(|t| matches!(t.dtype(), ElementType::F32 | ElementType::F64))
}

/// Inputs `i` and `k` of one float type, as [`floats`].
fn float_pair<'i>(inputs: &'i Inputs<'_>, i: usize, k: usize) -> Option<(&'i Tensor, &'i Tensor)> {
    let (a, b) = (floats(inputs, i)?, floats(inputs, k)?);
    (a.dtype() == b.dtype()).then_some((a, b))
}

/// Whether a NaN is among the elements: candle's maxima and minima lose it.
fn has_nan(tensor: &Tensor) -> bool {
    match tensor.data() {
        Data::F32(v) => v.iter().any(|x| x.is_nan()),
        Data::F64(v) => v.iter().any(|x| x.is_nan()),
        Data::F16(v) => v.iter().any(|x| x.is_nan()),
        Data::BF16(v) => v.iter().any(|x| x.is_nan()),
        _ => false,
    }
}

/// `None` where candle's element-wise operators would start threads.
fn serial(elements: usize) -> Option<()> {
    (elements < SERIAL).then_some(())
}

/// `None` where a tensor of these dimensions passes the run's limit.
fn room(ctx: &Context<'_>, dims: &[usize], dtype: ElementType) -> Option<()> {
    let elements = ctx.shape_of::<u8>(dims).ok()?.len();
    ctx.shape_of::<u8>(&[elements, dtype.size()]).ok().map(|_| ())
}

/// A candle tensor with a copy of these elements.
fn to_candle(tensor: &Tensor) -> Option<Candle> {
    Candle::try_from(tensor.clone()).ok()
}

/// A tensor of ours with a copy of these elements, which are of type `dtype`.
fn to_ours(result: candle_core::Result<Candle>, dtype: ElementType) -> Option<Tensor> {
    let tensor = Tensor::try_from(&result.ok()?).ok()?;
    match (tensor.data(), dtype) {
        (Data::U8(bytes), ElementType::Bool) => {
            let bools = bytes.iter().map(|&b| b != 0).collect();
            Tensor::new(tensor.shape().clone(), Data::Bool(bools)).ok()
        }
        _ => (tensor.dtype() == dtype).then_some(tensor),
    }
}
