//! Pooling: MaxPool, AveragePool, LpPool, their global forms, MaxUnpool.

mod global;
mod max;
mod mean;
#[cfg(test)]
mod tests;
mod unpool;

use super::channels_last::always;
use super::conv::polyphase::Polyphase;
use super::conv::window::{Dims, Sliding, SlidingMap, Window};
use super::registry::{Entry, microsoft, onnx};
use super::{Context, OpSpec};
use crate::error::{Result, ensure};
use crate::tensor::{Element, Shape, Tensor};

pub(super) const OPS: &[Entry] = &[
    onnx("AveragePool", 1, mean::prepare),
    onnx("GlobalAveragePool", 1, global::prepare),
    onnx("GlobalLpPool", 1, global::prepare),
    onnx("GlobalMaxPool", 1, global::prepare),
    onnx("LpPool", 1, mean::prepare),
    onnx("MaxPool", 1, max::prepare),
    onnx("MaxUnpool", 9, unpool::prepare),
    microsoft("NhwcMaxPool", |spec| Ok(always(max::prepare(spec)?))),
];

/// The window of a pooling node, which must say its kernel's sizes.
pub(super) fn window(spec: &OpSpec<'_>) -> Result<(Window, Dims)> {
    let mut window = Window::new(spec)?;
    window.may_be_empty = true;
    match window.kernel.clone() {
        Some(kernel) => Ok((window, kernel)),
        None => Err(spec.invalid("attribute 'kernel_shape' is missing")),
    }
}

/// Input shape and window of one run.
struct Planes {
    sliding: Sliding,
    map: SlidingMap,
    polyphase: Option<Polyphase>,
    shape: Shape,
}

/// Slides the window over the spatial axes of `x`, whose first two axes count planes.
fn planes<T: Element>(
    ctx: &Context<'_>,
    window: &Window,
    kernel: &Dims,
    x: &Tensor,
) -> Result<Planes> {
    let dims = x.dims();
    ensure!(
        dims.len() >= 3,
        InvalidInput,
        "a pool takes a batch, channels and spatial axes, got shape {}",
        x.shape()
    );
    let sliding = window.slide(kernel, &dims[2..])?;
    let mut out = Dims::from_slice(&dims[..2]);
    out.extend_from_slice(&sliding.output);
    let shape = ctx.shape_of::<T>(&out)?;
    let map = sliding.map(ctx)?;
    let polyphase = Polyphase::new::<T>(ctx, &sliding, &map)?;
    Ok(Planes { sliding, map, polyphase, shape })
}
