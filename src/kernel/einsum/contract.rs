//! Computing an Einsum: as a matrix product where it is one, else by plain strided loops.

use super::equation::Axes;
use crate::error::{Result, ensure};
use crate::kernel::Context;
use crate::kernel::conv::product::row_exact_product;
use crate::kernel::conv::real::Real;
use crate::tensor::{Element, Tensor};

/// Calls `visit` for every place of a box of `sizes`, last axis fastest, with each operand's
/// offset, from `start` on, until it answers `false`.
fn walk(
    sizes: &[usize],
    steps: &[Vec<usize>],
    start: &[usize],
    mut visit: impl FnMut(&[usize]) -> bool,
) {
    if sizes.contains(&0) {
        return;
    }
    let mut at = vec![0usize; sizes.len()];
    let mut offsets = start.to_vec();
    loop {
        if !visit(&offsets) {
            return;
        }
        let mut axis = sizes.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            at[axis] += 1;
            for (offset, steps) in offsets.iter_mut().zip(steps) {
                *offset += steps[axis];
            }
            if at[axis] < sizes[axis] {
                break;
            }
            for (offset, steps) in offsets.iter_mut().zip(steps) {
                *offset -= steps[axis] * sizes[axis];
            }
            at[axis] = 0;
        }
    }
}

/// The sum of products by plain loops.
pub(super) fn strided<T: Element + Copy + From<bool>>(
    ctx: &mut Context<'_>,
    axes: &Axes,
    operands: &[Tensor],
    add: impl Fn(T, T) -> T,
    multiply: impl Fn(T, T) -> T,
) -> Result<Tensor> {
    let data = operands.iter().map(Tensor::as_slice::<T>).collect::<Result<Vec<_>>>()?;
    let shape = ctx.shape_of::<T>(&axes.sizes[..axes.kept])?;
    let mut out = ctx.buffer::<T>(shape.len())?;
    let part = |range: std::ops::Range<usize>| -> Vec<Vec<usize>> {
        axes.steps.iter().map(|s| s[range.clone()].to_vec()).collect()
    };
    let (kept, summed) = (part(0..axes.kept), part(axes.kept..axes.sizes.len()));
    let mut visited = 0u32;
    let mut late = Ok(());
    walk(&axes.sizes[..axes.kept], &kept, &vec![0; data.len()], |start| {
        let mut sum = T::from(false);
        walk(&axes.sizes[axes.kept..], &summed, start, |at| {
            let mut product = T::from(true);
            for (data, &at) in data.iter().zip(at) {
                if let Some(&x) = data.get(at) {
                    product = multiply(product, x);
                }
            }
            sum = add(sum, product);
            visited = visited.wrapping_add(1);
            if visited.is_multiple_of(1 << 16) {
                late = ctx.check_deadline();
            }
            late.is_ok()
        });
        out.push(sum);
        late.is_ok()
    });
    late?;
    ctx.tensor(shape, out)
}

/// The sum of products of floating-point operands.
pub(super) fn real<T: Real + From<bool>>(
    ctx: &mut Context<'_>,
    axes: &Axes,
    operands: &[Tensor],
) -> Result<Tensor> {
    if let Some(out) = matrix_product::<T>(ctx, axes, operands)? {
        return Ok(out);
    }
    strided::<T>(ctx, axes, operands, |a, b| a + b, |a, b| a * b)
}

/// An operand's elements in the order of `order`, which holds every axis it has.
fn ordered<T: Real>(
    ctx: &mut Context<'_>,
    axes: &Axes,
    operand: usize,
    data: &[T],
    order: &[usize],
) -> Result<Vec<T>> {
    let sizes: Vec<usize> = order.iter().map(|&i| axes.sizes[i]).collect();
    let steps: Vec<usize> = order.iter().map(|&i| axes.steps[operand][i]).collect();
    let len = ctx.shape_of::<T>(&sizes)?.len();
    let mut out = ctx.buffer::<T>(len)?;
    walk(&sizes, &[steps], &[0], |at| {
        out.extend(data.get(at[0]));
        true
    });
    ensure!(out.len() == len, Internal, "Einsum: an operand shorter than its shape");
    Ok(out)
}

/// Two operands whose summed axes both have are a batch of matrix products.
fn matrix_product<T: Real>(
    ctx: &mut Context<'_>,
    axes: &Axes,
    operands: &[Tensor],
) -> Result<Option<Tensor>> {
    let ([a, b], [has_a, has_b]) = (operands, &axes.has[..]) else { return Ok(None) };
    let all = 0..axes.sizes.len();
    let shared: Vec<usize> = (axes.kept..axes.sizes.len()).collect();
    if shared.is_empty() || shared.iter().any(|&i| !has_a[i] || !has_b[i]) {
        return Ok(None);
    }
    let kept = |in_a: bool, in_b: bool| -> Vec<usize> {
        all.clone().filter(|&i| i < axes.kept && has_a[i] == in_a && has_b[i] == in_b).collect()
    };
    let (batch, left, right) = (kept(true, true), kept(true, false), kept(false, true));
    let size = |order: &[usize]| order.iter().map(|&i| axes.sizes[i]).product::<usize>();
    let join = |parts: &[&[usize]]| parts.concat();
    let shape = ctx.shape_of::<T>(&axes.sizes[..axes.kept])?;
    let a = ordered(ctx, axes, 0, a.as_slice::<T>()?, &join(&[&batch, &left, &shared]))?;
    let b = ordered(ctx, axes, 1, b.as_slice::<T>()?, &join(&[&batch, &shared, &right]))?;
    let (rows, depth, cols) = (size(&left), size(&shared), size(&right));
    let mut out = ctx.filled(shape.len(), T::ZERO)?;
    if out.is_empty() || depth == 0 {
        return ctx.tensor(shape, out).map(Some);
    }
    for (i, out) in out.chunks_mut(rows * cols).enumerate() {
        let a = a.get(i * rows * depth..(i + 1) * rows * depth).unwrap_or(&[]);
        let b = b.get(i * depth * cols..(i + 1) * depth * cols).unwrap_or(&[]);
        row_exact_product(rows, depth, cols, a, b, out)?;
        ctx.check_deadline()?;
    }
    ctx.recycle(a);
    ctx.recycle(b);
    let order = join(&[&batch, &left, &right]);
    if order.is_sorted() {
        return ctx.tensor(shape, out).map(Some);
    }
    // From the product's order of axes to the output's.
    let mut steps = vec![0usize; axes.kept];
    let mut step = 1;
    for &i in order.iter().rev() {
        steps[i] = step;
        step *= axes.sizes[i];
    }
    let mut sorted = ctx.buffer::<T>(shape.len())?;
    walk(&axes.sizes[..axes.kept], &[steps], &[0], |at| {
        sorted.extend(out.get(at[0]));
        true
    });
    ctx.recycle(out);
    ctx.tensor(shape, sorted).map(Some)
}
