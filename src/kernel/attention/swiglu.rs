//! SwiGLU: one half of a projection, gated by the other.

use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::broadcast::binary;
use crate::kernel::unary::{Function, applied};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Data;
use half::{bf16, f16};

struct SwiGlu {
    alpha: f32,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    Ok(Box::new(SwiGlu { alpha: spec.attributes.float("alpha", 1.0)? }))
}

impl Kernel for SwiGlu {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (gate, value) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        ensure!(
            gate.shape() == value.shape() && gate.dtype() == value.dtype(),
            InvalidInput,
            "SwiGLU of {} {} and {} {}",
            gate.dtype(),
            gate.shape(),
            value.dtype(),
            value.shape()
        );
        ensure!(gate.dtype().is_float(), InvalidInput, "SwiGLU of {}", gate.dtype());
        let gate = applied(ctx, Function::Swish { alpha: self.alpha }, gate)?;
        one(match gate.data() {
            Data::F32(_) => binary::<f32>(ctx, gate, value, |x, y| x * y)?,
            Data::F64(_) => binary::<f64>(ctx, gate, value, |x, y| x * y)?,
            Data::F16(_) => binary::<f16>(ctx, gate, value, |x, y| x * y)?,
            Data::BF16(_) => binary::<bf16>(ctx, gate, value, |x, y| x * y)?,
            other => bail!(InvalidInput, "SwiGLU of {}", other.dtype()),
        })
    }
}
