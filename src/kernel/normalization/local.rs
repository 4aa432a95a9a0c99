//! LpNormalization and LRN.

use super::real::Real;
use super::{Normalization, Normalize, Run};
use crate::error::{Result, ensure};
use crate::kernel::{Kernel, OpSpec};
use crate::tensor::Tensor;

/// x / ‖x‖ along an axis.
struct Lp {
    axis: i64,
    p: i64,
}

pub(super) fn prepare_lp(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let p = spec.attributes.int("p", 2)?;
    ensure!(matches!(p, 1 | 2), InvalidModel, "LpNormalization: p is {p}, not 1 or 2");
    Ok(Box::new(Normalize(Lp { axis: spec.attributes.int("axis", -1)?, p })))
}

impl Normalization for Lp {
    fn apply<T: Real>(&self, Run { shape, data, .. }: Run<'_, '_, T>) -> Result<Vec<Tensor>> {
        let (_, len, inner) = shape.split_at(shape.axis(self.axis)?);
        if data.is_empty() {
            return Ok(vec![]);
        }
        for block in data.chunks_exact_mut(len * inner) {
            for column in 0..inner {
                let line = || block.iter().skip(column).step_by(inner).map(|v| v.wide());
                let norm = match self.p {
                    1 => line().map(f64::abs).sum::<f64>(),
                    _ => line().map(|v| v * v).sum::<f64>().sqrt(),
                };
                // A line of zeros stays one.
                let norm = T::of(if norm == 0.0 { 1.0 } else { norm });
                for v in block.iter_mut().skip(column).step_by(inner) {
                    *v = *v / norm;
                }
            }
        }
        Ok(vec![])
    }
}

/// Local response normalisation: x / (bias + α/size · Σ x²)^β over neighbouring channels.
struct Lrn {
    size: usize,
    alpha: f64,
    beta: f64,
    bias: f64,
}

pub(super) fn prepare_lrn(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let a = spec.attributes;
    let size = usize::try_from(a.int("size", 0)?).unwrap_or(0);
    ensure!(size > 0, InvalidModel, "LRN: size must be positive");
    Ok(Box::new(Normalize(Lrn {
        size,
        alpha: a.float("alpha", 1e-4)?.into(),
        beta: a.float("beta", 0.75)?.into(),
        bias: a.float("bias", 1.0)?.into(),
    })))
}

impl Normalization for Lrn {
    fn apply<T: Real>(&self, Run { ctx, shape, data, .. }: Run<'_, '_, T>) -> Result<Vec<Tensor>> {
        ensure!(shape.rank() >= 2, InvalidInput, "LRN takes at least two axes, got {shape}");
        if data.is_empty() {
            return Ok(vec![]);
        }
        let (_, channels, inner) = shape.split_at(1);
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let ns = channels.saturating_mul(inner).saturating_mul(self.size.min(channels) + 20);
        ctx.threads.split_rows(data, channels * inner, ns, |_, data| {
            let mut line = vec![0f64; channels];
            for image in data.chunks_exact_mut(channels * inner) {
                for at in 0..inner {
                    for (l, v) in line.iter_mut().zip(image.iter().skip(at).step_by(inner)) {
                        *l = v.wide();
                    }
                    for (c, v) in image.iter_mut().skip(at).step_by(inner).enumerate() {
                        let end = c.saturating_add(after).min(channels - 1);
                        let window = &line[c.saturating_sub(before)..=end];
                        let squares: f64 = window.iter().map(|v| v * v).sum();
                        let base = self.bias + self.alpha / self.size as f64 * squares;
                        *v = T::of(line[c] / base.powf(self.beta));
                    }
                }
            }
        });
        Ok(vec![])
    }
}
