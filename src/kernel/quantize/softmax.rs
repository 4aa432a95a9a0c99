//! QLinearSoftmax, by a table of exponentials.

use super::level::{Byte, with_byte};
use super::needs;
use super::unary::Affine;
use crate::error::Result;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};

struct Softmax {
    axis: i64,
    /// Before opset 13 everything from `axis` on is one row.
    flatten: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 3], 5)?;
    let Some(opset) = spec.attributes.int_opt("opset")? else {
        return Err(spec.invalid("attribute 'opset' is missing"));
    };
    Ok(Box::new(Softmax { axis: spec.attributes.int("axis", -1)?, flatten: opset < 13 }))
}

/// `e^((i - 255) · scale)` for i up to 255, times a number that keeps the sum of `len` of them in
/// the range of floats and the small ones away from zero.
fn exponentials(scale: f32, len: usize) -> [f32; 256] {
    let room = (f64::from(f32::MAX) / len.max(1) as f64).ln() - 5.0;
    let mut table = [0f32; 256];
    for (i, entry) in table.iter_mut().enumerate() {
        let exponent = (i as f64 - 255.0) * f64::from(scale) + room.max(0.0);
        *entry = exponent.exp() as f32;
    }
    table
}

impl Softmax {
    /// `(rows before, elements of a row, elements between neighbours of a row)`.
    fn split(&self, shape: &Shape) -> Result<(usize, usize, usize)> {
        let axis = shape.axis(self.axis)?;
        let (outer, length, inner) = shape.split_at(axis);
        Ok(if self.flatten { (outer, length * inner, 1) } else { (outer, length, inner) })
    }

    fn compute<T: Byte>(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Tensor> {
        let from = Affine::of::<T>(inputs, 1, "the quantisation of X")?;
        let to = Affine::of::<T>(inputs, 3, "the quantisation of Y")?;
        let tensor = inputs.tensor(0)?;
        let (_, length, inner) = self.split(tensor.shape())?;
        let x = tensor.as_slice::<T>()?;
        let table = exponentials(from.scale, length);
        // ONNX Runtime counts whole steps of the output only.
        let steps = (1.0 / to.scale).floor();
        let mut out = ctx.filled(x.len(), T::default())?;
        let group = length * inner;
        let ns = group.saturating_mul(4);
        ctx.threads.split_rows(&mut out, group, ns, |groups, out| {
            for (i, out) in groups.zip(out.chunks_mut(group.max(1))) {
                let x = x.get(i * group..(i + 1) * group).unwrap_or(&[]);
                for first in 0..inner {
                    let row = || {
                        x.iter().skip(first).step_by(inner).map(|&x| {
                            let x: i16 = x.into();
                            x
                        })
                    };
                    let most = row().max().unwrap_or(0);
                    // The largest element meets the last entry.
                    let of = |x: i16| {
                        let at = usize::try_from(255 - (most - x)).unwrap_or(0);
                        table.get(at).copied().unwrap_or(0.0)
                    };
                    let mut sum = 0f32;
                    for x in row() {
                        sum += of(x);
                    }
                    for (out, x) in out.iter_mut().skip(first).step_by(inner).zip(row()) {
                        *out = T::quantised(of(x) * steps / sum, to.zero);
                    }
                }
            }
        });
        ctx.tensor(tensor.shape().clone(), out)
    }
}

impl Kernel for Softmax {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        one(with_byte!("QLinearSoftmax", dtype, T => self.compute::<T>(ctx, inputs))?)
    }
}
