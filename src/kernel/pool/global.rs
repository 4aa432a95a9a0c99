//! Pools over all spatial axes at once.

use super::mean::{exponent, power, root};
use crate::error::{Result, ensure};
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

#[derive(Clone, Copy)]
enum Kind {
    Average,
    Max,
    Norm { p: f32 },
}

struct GlobalPool {
    op: String,
    kind: Kind,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let kind = match spec.op {
        "GlobalMaxPool" => Kind::Max,
        "GlobalLpPool" => Kind::Norm { p: exponent(spec)? },
        _ => Kind::Average,
    };
    Ok(Box::new(GlobalPool { op: spec.op.to_string(), kind }))
}

/// The sum in eight lanes, which the compiler vectorises.
fn sum<T: Real>(values: &[T], term: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += term(x);
        }
    }
    let mut total = T::ZERO;
    for lane in lanes {
        total += lane;
    }
    for &x in rest {
        total += term(x);
    }
    total
}

fn max<T: Real>(values: &[T]) -> T {
    let lowest = T::from_f32(f32::NEG_INFINITY);
    values.iter().fold(lowest, |m, &x| if x > m || x.is_nan() { x } else { m })
}

impl GlobalPool {
    fn compute<T: Real>(&self, ctx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        ensure!(
            dims.len() >= 2,
            InvalidInput,
            "{} takes a batch, channels and spatial axes, got shape {}",
            self.op,
            x.shape()
        );
        let mut out_dims = vec![1; dims.len()];
        out_dims[..2].copy_from_slice(&dims[..2]);
        let shape = ctx.shape_of::<T>(&out_dims)?;
        let size: usize = dims[2..].iter().product();
        let input = x.as_slice::<T>()?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        ctx.threads.split_rows(&mut out, 1, size, |range, chunk| {
            for (i, out) in range.zip(chunk) {
                let plane = input.get(i * size..(i + 1) * size).unwrap_or(&[]);
                *out = match self.kind {
                    Kind::Average => sum(plane, |x| x) / T::from_f64(size as f64),
                    Kind::Max => max(plane),
                    Kind::Norm { p } => root(sum(plane, |x| power(x, p)), p),
                };
            }
        });
        ctx.tensor(shape, out)
    }
}

impl Kernel for GlobalPool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let x = widened(x)?;
        let out = with_real!(&self.op, dtype, T => self.compute::<T>(ctx, &x))?;
        one(narrowed(out, dtype)?)
    }
}
