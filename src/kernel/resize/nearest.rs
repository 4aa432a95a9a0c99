//! Nearest-neighbour resizing, for any element type, and what all modes end with.

use super::coordinates::Axis;
use crate::error::Result;
use crate::kernel::Context;
use crate::tensor::{Carrier, Complex, Element, ElementType, Shape, Tensor};
use half::{bf16, f16};

/// The extrapolation value as an element.
pub(super) trait Fill {
    fn fill(value: f32) -> Self;
}

macro_rules! fill {
    ($($t:ty: $f:expr),+ $(,)?) => {$(
        impl Fill for $t {
            fn fill(value: f32) -> Self { $f(value) }
        }
    )+};
}
fill!(
    f32: |v: f32| v, f64: f64::from, f16: f16::from_f32, bf16: bf16::from_f32,
    i8: |v: f32| v as i8, i16: |v: f32| v as i16, i32: |v: f32| v as i32, i64: |v: f32| v as i64,
    u8: |v: f32| v as u8, u16: |v: f32| v as u16, u32: |v: f32| v as u32, u64: |v: f32| v as u64,
    bool: |v: f32| v != 0.0, String: |v: f32| v.to_string(),
    Complex<f32>: |re: f32| Complex { re, im: 0.0 },
    Complex<f64>: |re: f32| Complex { re: re.into(), im: 0.0 },
);

/// The extrapolation value as an element of the type of `_like`.
pub(super) fn filling<T: Element + Fill>(_like: &[T], value: f32) -> Tensor {
    Tensor::scalar(T::fill(value))
}

/// An empty tensor of type `dtype`, for which `_like` stands.
pub(super) fn empty<T: Carrier>(
    ctx: &Context<'_>,
    dims: &[usize],
    _like: &[T],
    dtype: ElementType,
) -> Result<Tensor> {
    Tensor::moved(ctx.shape_of::<T>(dims)?, Vec::<T>::new(), dtype)
}

/// Takes from each axis the elements of `indices`. Rows of the innermost axis that come from the
/// same input row are copied from the first of them.
fn resize<T: Element>(
    ctx: &mut Context<'_>,
    data: &[T],
    axes: &[Axis],
    indices: &[Vec<usize>],
) -> Result<Vec<T>> {
    let len = axes.iter().map(|a| a.output).product();
    let mut out = ctx.filled(len, T::default())?;
    let Some((inner, outer)) = axes.split_last() else {
        out.clone_from_slice(data);
        return Ok(out);
    };
    let Some(columns) = indices.last() else { return Ok(out) };
    let contiguous = columns.iter().enumerate().all(|(i, &c)| i == c);
    let factor = inner.output / inner.input.max(1);
    let whole = factor > 1 && columns.iter().enumerate().all(|(i, &c)| c == i / factor);
    let source = |row: usize| {
        let (mut rest, mut start, mut step) = (row, 0, inner.input);
        for (axis, indices) in outer.iter().zip(indices).rev() {
            let at = indices.get(rest % axis.output).copied().unwrap_or(0);
            rest /= axis.output;
            start += at * step;
            step *= axis.input;
        }
        start
    };
    let width = inner.output;
    ctx.threads.split_rows(&mut out, width, width, |rows, chunk| {
        let mut before: Option<(usize, usize)> = None;
        for (i, row) in rows.enumerate() {
            let start = source(row);
            let at = i * width;
            if let Some((same, place)) = before
                && same == start
            {
                let (done, rest) = chunk.split_at_mut(at);
                if let (Some(from), Some(to)) =
                    (done.get(place..place + width), rest.get_mut(..width))
                {
                    to.clone_from_slice(from);
                }
                continue;
            }
            before = Some((start, at));
            let from = data.get(start..start + inner.input).unwrap_or(&[]);
            let Some(to) = chunk.get_mut(at..at + width) else { continue };
            if contiguous && inner.input == width {
                to.clone_from_slice(from);
            } else if whole {
                for (to, x) in to.chunks_mut(factor).zip(from) {
                    to.fill(x.clone());
                }
            } else {
                for (to, &c) in to.iter_mut().zip(columns) {
                    if let Some(x) = from.get(c) {
                        to.clone_from(x);
                    }
                }
            }
        }
    });
    Ok(out)
}

/// The tensor of the elements at `indices`, with the one of `filling`, which is of the tensor's
/// type, where a coordinate lies outside on any axis.
pub(super) fn tensor<T: Carrier>(
    ctx: &mut Context<'_>,
    data: &[T],
    axes: &[Axis],
    indices: &[Vec<usize>],
    outside: &[Vec<bool>],
    filling: &Tensor,
) -> Result<Tensor> {
    let dtype = filling.dtype();
    let dims: Vec<usize> = axes.iter().map(|a| a.output).collect();
    let out = resize(ctx, data, axes, indices)?;
    let value = filling.carried::<T>(dtype)?.first().cloned().unwrap_or_default();
    let (shape, out) = finish(ctx, &dims, out, outside, value)?;
    Tensor::moved(shape, out, dtype)
}

/// The result and its shape, with `value` where a coordinate lies outside on any axis.
pub(super) fn finish<T: Element>(
    ctx: &mut Context<'_>,
    dims: &[usize],
    mut out: Vec<T>,
    outside: &[Vec<bool>],
    value: T,
) -> Result<(Shape, Vec<T>)> {
    let shape = ctx.shape_of::<T>(dims)?;
    for (axis, outside) in outside.iter().enumerate().filter(|(_, o)| !o.is_empty()) {
        let (_, size, inner) = shape.split_at(axis);
        for (i, block) in out.chunks_mut(inner.max(1)).enumerate() {
            if outside.get(i % size.max(1)) == Some(&true) {
                block.fill(value.clone());
            }
        }
    }
    Ok((shape, out))
}
