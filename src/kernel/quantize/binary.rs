//! QLinearAdd and QLinearMul: element by element, each operand in a scale of its own.

use super::level::{Byte, with_byte};
use super::needs;
use super::unary::Affine;
use crate::error::Result;
use crate::kernel::elementwise::broadcast::{Broadcast, of_one_type};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

struct Binary {
    op: String,
    add: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 3, 4, 6], 8)?;
    Ok(Box::new(Binary { op: spec.op.to_string(), add: spec.op == "QLinearAdd" }))
}

impl Binary {
    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(3)?);
        of_one_type(a, b)?;
        let at = |i: usize, what: &str| Affine::of::<T>(inputs, i, what);
        let (x, y) = (at(1, "the quantisation of A")?, at(4, "the quantisation of B")?);
        let z = at(6, "the quantisation of C")?;
        let plan = Broadcast::new(a.shape(), b.shape())?;
        let shape = ctx.shape_of::<T>(plan.shape.dims())?;
        let out = ctx.buffer(shape.len())?;
        let wide = |x: &T| -> i16 { (*x).into() };
        let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let out = if self.add {
            // All that is the same for every element is added up once.
            let (by_a, by_b) = (x.scale / z.scale, y.scale / z.scale);
            let fixed = z.zero - (by_a * x.zero + by_b * y.zero);
            plan.pairs(a, b, out, |a, b| {
                let (a, b) = (f32::from(wide(a)), f32::from(wide(b)));
                T::of(T::LEVELS.round(a * by_a + (b * by_b + fixed)))
            })
        } else {
            let by = x.scale * y.scale / z.scale;
            plan.pairs(a, b, out, |a, b| {
                let (a, b) = (f32::from(wide(a)) - x.zero, f32::from(wide(b)) - y.zero);
                T::of(T::LEVELS.round(a * b * by + z.zero))
            })
        };
        ctx.tensor(shape, out)
    }
}

impl Kernel for Binary {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        one(with_byte!(&self.op, dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}
