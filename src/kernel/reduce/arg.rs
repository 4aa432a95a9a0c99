//! ArgMax and ArgMin.

use super::Lines;
use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::arithmetic::for_numeric;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Element, Tensor};

struct ArgExtremum {
    max: bool,
    axis: i64,
    keep_dims: bool,
    last: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>, max: bool) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let attributes = spec.attributes;
    Ok(Box::new(ArgExtremum {
        max,
        axis: attributes.int("axis", 0)?,
        keep_dims: attributes.flag("keepdims", true)?,
        last: spec.version >= 12 && attributes.flag("select_last_index", false)?,
    }))
}

impl ArgExtremum {
    fn of<T: Element + Copy + PartialOrd>(
        &self,
        ctx: &mut Context<'_>,
        input: &Tensor,
    ) -> Result<Tensor> {
        let shape = input.shape();
        let mut reduced = vec![false; shape.rank()];
        if shape.rank() > 0 {
            reduced[shape.axis(self.axis)?] = true;
        }
        let lines = Lines::new(shape, &reduced, self.keep_dims)?;
        ensure!(
            lines.len > 0 || lines.out.len() == 0,
            InvalidInput,
            "no largest or smallest element along an empty axis of {shape}"
        );
        let mut out = ctx.filled(lines.out.len(), 0i64)?;
        let (max, last) = (self.max, self.last);
        lines.map(ctx, input.as_slice::<T>()?, &mut out, |line| {
            let mut best = 0;
            for (i, v) in line.iter().enumerate().skip(1) {
                let better = if max { *v > line[best] } else { *v < line[best] };
                if better || (last && *v == line[best]) {
                    best = i;
                }
            }
            best as i64
        });
        Tensor::new(lines.out, i64::wrap(out))
    }
}

impl Kernel for ArgExtremum {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        one(for_numeric!(
            input.dtype(),
            T => self.of::<T>(ctx, input)?,
            other => bail!(InvalidInput, "the largest or smallest of {other}")
        ))
    }
}
