//! Matrix products: MatMul and Gemm.

use super::{Entry, OnCandle, boxed, float_pair, floats, room, serial, to_candle, to_ours};
use crate::kernel::{Context, OpSpec};
use crate::tensor::{Shape, Tensor};
use candle_core::Tensor as Candle;
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[("Gemm", gemm), ("MatMul", matmul)];

/// `a · b` in the library's own pool: `gemm` splits large products over the rayon pool it is
/// called in (candle-core's `cpu_backend/mod.rs`, `MatMul`).
fn product(ctx: &Context<'_>, a: &Candle, b: &Candle) -> Option<Candle> {
    ctx.threads.install(|| a.matmul(b))?.ok()
}

/// A matrix for each matrix of the batch: `[batch, rows, columns]`.
fn batched(
    ctx: &Context<'_>,
    tensor: &Tensor,
    batch: &Shape,
    [rows, columns]: [usize; 2],
) -> Option<Candle> {
    let own = tensor.dims().get(..tensor.shape().rank().saturating_sub(2)).unwrap_or(&[]);
    let mut from: SmallVec<[usize; 6]> = SmallVec::from_slice(own);
    let mut to: SmallVec<[usize; 6]> = SmallVec::from_slice(batch.dims());
    for dims in [&mut from, &mut to] {
        dims.extend([rows, columns]);
    }
    room(ctx, &to, tensor.dtype())?;
    let spread = to_candle(tensor)?.reshape(from.as_slice()).ok()?.broadcast_as(to.as_slice());
    // candle refuses some batches of strided matrices.
    spread.ok()?.contiguous().ok()?.reshape((batch.len(), rows, columns)).ok()
}

fn matmul(_: &OpSpec<'_>) -> Option<OnCandle> {
    boxed(|ctx, inputs| {
        let (a, b) = float_pair(inputs, 0, 1)?;
        // One-dimensional operands become a row and a column for the product.
        let (batch_a, [m, k]) = match a.dims() {
            [] => return None,
            [k] => (&[][..], [1, *k]),
            [batch @ .., m, k] => (batch, [*m, *k]),
        };
        let (batch_b, [k2, n]) = match b.dims() {
            [] => return None,
            [k] => (&[][..], [*k, 1]),
            [batch @ .., k, n] => (batch, [*k, *n]),
        };
        (k == k2).then_some(())?;
        let batch = Shape::new(batch_a).ok()?.broadcast(&Shape::new(batch_b).ok()?).ok()?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(batch.dims());
        dims.extend((a.shape().rank() > 1).then_some(m));
        dims.extend((b.shape().rank() > 1).then_some(n));
        room(ctx, &dims, a.dtype())?;
        let a_matrices = batched(ctx, a, &batch, [m, k])?;
        let b_matrices = batched(ctx, b, &batch, [k, n])?;
        to_ours(product(ctx, &a_matrices, &b_matrices)?.reshape(dims.as_slice()), a.dtype())
    })
}

fn gemm(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let flag = |name| spec.attributes.flag(name, false).ok();
    let factor = |name| spec.attributes.float(name, 1.0).ok().map(f64::from);
    let (turn_a, turn_b) = (flag("transA")?, flag("transB")?);
    let (alpha, beta) = (factor("alpha")?, factor("beta")?);
    boxed(move |ctx, inputs| {
        let (a, b) = float_pair(inputs, 0, 1)?;
        let (&[a_rows, a_columns], &[b_rows, b_columns]) = (a.dims(), b.dims()) else {
            return None;
        };
        let m = if turn_a { a_columns } else { a_rows };
        let n = if turn_b { b_rows } else { b_columns };
        let out = Shape::new(&[m, n]).ok()?;
        room(ctx, out.dims(), a.dtype())?;
        let matrix = |t, turn| {
            let t = to_candle(t)?;
            if turn { t.t().and_then(|t| t.contiguous()).ok() } else { Some(t) }
        };
        let mut result = product(ctx, &matrix(a, turn_a)?, &matrix(b, turn_b)?)?;
        if alpha != 1.0 {
            result = result.affine(alpha, 0.0).ok()?;
        }
        if inputs.has(2) {
            let c = floats(inputs, 2).filter(|c| c.dtype() == a.dtype())?;
            // C broadcasts to the product, never the other way.
            (c.shape().rank() <= 2 && c.shape().broadcast(&out).ok()? == out).then_some(())?;
            serial(out.len())?;
            let c = to_candle(c)?.affine(beta, 0.0).ok()?;
            result = result.broadcast_add(&c).ok()?;
        }
        to_ours(Ok(result), a.dtype())
    })
}
