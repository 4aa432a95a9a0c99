//! CumSum.

use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::arithmetic::{Arithmetic, for_numeric};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

struct CumSum {
    exclusive: bool,
    reverse: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let exclusive = spec.attributes.flag("exclusive", false)?;
    Ok(Box::new(CumSum { exclusive, reverse: spec.attributes.flag("reverse", false)? }))
}

impl CumSum {
    fn of<T: Arithmetic>(&self, ctx: &mut Context<'_>, x: Tensor, axis: usize) -> Result<Tensor> {
        let shape = x.shape().clone();
        let (_, len, inner) = shape.split_at(axis);
        let mut data = owned::<T>(ctx, x)?;
        if !data.is_empty() {
            for block in data.chunks_exact_mut(len * inner) {
                for column in 0..inner {
                    let mut sum = T::default();
                    for i in 0..len {
                        let i = if self.reverse { len - 1 - i } else { i };
                        let v = &mut block[i * inner + column];
                        let next = sum.plus(*v);
                        *v = if self.exclusive { sum } else { next };
                        sum = next;
                    }
                }
            }
        }
        ctx.tensor(shape, data)
    }
}

impl Kernel for CumSum {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let axis = inputs.tensor(1)?.to_i64_vec()?;
        ensure!(axis.len() == 1, InvalidInput, "CumSum takes one axis, got {}", axis.len());
        let x = inputs.take_tensor(0)?;
        let axis = x.shape().axis(axis[0])?;
        one(for_numeric!(
            x.dtype(),
            T => self.of::<T>(ctx, x, axis)?,
            other => bail!(InvalidInput, "CumSum of {other}")
        ))
    }
}
