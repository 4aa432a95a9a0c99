//! FusedGemm: Gemm and an activation.

use super::gemm;
use crate::error::Result;
use crate::kernel::unary::{Function, applied, fused_activation};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};

struct FusedGemm {
    gemm: Box<dyn Kernel>,
    activation: Function,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let gemm = gemm::prepare(spec)?;
    Ok(match fused_activation(spec)? {
        Some(activation) => Box::new(FusedGemm { gemm, activation }),
        None => gemm,
    })
}

impl Kernel for FusedGemm {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let mut outputs = self.gemm.run(ctx, inputs)?;
        let product = outputs.remove(0).into_tensor()?;
        one(applied(ctx, self.activation, product)?)
    }

    fn holds(&self, i: usize) -> bool {
        self.gemm.holds(i)
    }

    fn packed_bytes(&self) -> u64 {
        self.gemm.packed_bytes()
    }
}
