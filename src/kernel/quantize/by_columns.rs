//! A product with weights that are unpacked a column at a time.

use crate::error::Result;
use crate::kernel::Context;
use crate::kernel::simd::dot;
use crate::tensor::Tensor;

/// The rows of `a`, of `k` numbers each and arranged as `front` says, times a matrix of `n`
/// columns, with `bias` added. `unpack` writes a column's weights; each is asked for once, and
/// threads share the columns.
///
/// # Errors
/// `LimitExceeded`, `DeadlineExceeded`, `Cancelled`.
pub(super) fn by_columns(
    ctx: &mut Context<'_>,
    (a, front): (&[f32], &[usize]),
    [k, n]: [usize; 2],
    bias: Option<&[f32]>,
    unpack: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Result<Tensor> {
    let mut dims = front.to_vec();
    dims.push(n);
    let shape = ctx.shape_of::<f32>(&dims)?;
    ctx.shape_of::<f32>(&[k, ctx.threads.size()])?;
    let m = shape.len().checked_div(n).unwrap_or(0);
    let mut turned = ctx.filled(shape.len(), 0f32)?;
    let ns = k.saturating_mul(m) / 8 + k;
    ctx.check_deadline()?;
    ctx.threads.split_rows(&mut turned, m, ns, |columns, out| {
        let mut column = vec![0f32; k];
        for (index, out) in columns.zip(out.chunks_mut(m.max(1))) {
            unpack(index, &mut column);
            let bias = bias.and_then(|b| b.get(index)).copied().unwrap_or(0.0);
            for (row, out) in out.iter_mut().enumerate() {
                *out = dot(a.get(row * k..(row + 1) * k).unwrap_or(&[]), &column) + bias;
            }
        }
    });
    if m == 1 {
        return ctx.tensor(shape, turned);
    }
    let mut out = ctx.filled(shape.len(), 0f32)?;
    for (row, out) in out.chunks_mut(n.max(1)).enumerate() {
        out.iter_mut().zip(turned.iter().skip(row).step_by(m)).for_each(|(o, &x)| *o = x);
    }
    ctx.recycle(turned);
    ctx.tensor(shape, out)
}
