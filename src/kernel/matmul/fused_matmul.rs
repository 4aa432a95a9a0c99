//! FusedMatMul: a product that scales, and takes its operands transposed.

use super::{MatMul, pack_constant};
use crate::error::Result;
use crate::kernel::transpose::permute;
use crate::kernel::{Arg, Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::Tensor;
use smallvec::SmallVec;

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let a = spec.attributes;
    let transpose = [a.flag("transA", false)?, a.flag("transB", false)?];
    let packed = pack_constant(spec, transpose[1])?;
    let product = MatMul { packed, transpose, alpha: a.float("alpha", 1.0)? };
    let batches = [a.flag("transBatchA", false)?, a.flag("transBatchB", false)?];
    Ok(match batches {
        [false, false] => Box::new(product),
        _ => Box::new(OverBatches { product, batches }),
    })
}

/// A product of matrices whose rows are the outermost axis, before the batch.
struct OverBatches {
    product: MatMul,
    /// For each operand whether it lies that way.
    batches: [bool; 2],
}

/// `tensor` with its first axis behind those of the batch.
fn turned(ctx: &mut Context<'_>, tensor: &Tensor) -> Result<Tensor> {
    let rank = tensor.shape().rank();
    if rank < 3 {
        return Ok(tensor.clone());
    }
    let order: SmallVec<[usize; 6]> = (1..rank - 1).chain([0, rank - 1]).collect();
    permute(ctx, tensor, &order)
}

impl Kernel for OverBatches {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut args = SmallVec::new();
        for (i, &batches) in self.batches.iter().enumerate() {
            args.push(match inputs.tensor_opt(i)? {
                None => Arg::Absent,
                Some(tensor) if batches => Arg::Owned(turned(ctx, tensor)?.into()),
                Some(tensor) => Arg::Owned(tensor.clone().into()),
            });
        }
        self.product.run(ctx, &mut Inputs::new(args))
    }

    fn packed_bytes(&self) -> u64 {
        self.product.packed_bytes()
    }

    fn holds(&self, i: usize) -> bool {
        self.product.holds(i)
    }
}
