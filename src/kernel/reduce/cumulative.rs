//! CumSum and CumProd.

use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::arithmetic::{Arithmetic, for_numeric};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Running {
    Sum,
    Product,
}

struct Cumulative {
    running: Running,
    exclusive: bool,
    reverse: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>, running: Running) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let exclusive = spec.attributes.flag("exclusive", false)?;
    let reverse = spec.attributes.flag("reverse", false)?;
    Ok(Box::new(Cumulative { running, exclusive, reverse }))
}

impl Cumulative {
    fn of<T: Arithmetic>(&self, ctx: &mut Context<'_>, x: Tensor, axis: usize) -> Result<Tensor> {
        match self.running {
            Running::Sum => self.accumulate(ctx, x, axis, T::default(), T::plus),
            Running::Product => self.accumulate(ctx, x, axis, T::one(), T::times),
        }
    }

    fn accumulate<T: Arithmetic>(
        &self,
        ctx: &mut Context<'_>,
        x: Tensor,
        axis: usize,
        start: T,
        join: impl Fn(T, T) -> T,
    ) -> Result<Tensor> {
        let shape = x.shape().clone();
        let (_, len, inner) = shape.split_at(axis);
        let mut data = owned::<T>(ctx, x)?;
        if !data.is_empty() {
            for block in data.chunks_exact_mut(len * inner) {
                for column in 0..inner {
                    let mut so_far = start;
                    for i in 0..len {
                        let i = if self.reverse { len - 1 - i } else { i };
                        let v = &mut block[i * inner + column];
                        let next = join(so_far, *v);
                        *v = if self.exclusive { so_far } else { next };
                        so_far = next;
                    }
                }
            }
        }
        ctx.tensor(shape, data)
    }
}

impl Kernel for Cumulative {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let axis = inputs.tensor(1)?.to_i64_vec()?;
        ensure!(axis.len() == 1, InvalidInput, "expected one axis, got {}", axis.len());
        let x = inputs.take_tensor(0)?;
        let axis = x.shape().axis(axis[0])?;
        one(for_numeric!(
            x.dtype(),
            T => self.of::<T>(ctx, x, axis)?,
            other => bail!(InvalidInput, "a running {:?} of {other}", self.running)
        ))
    }
}
