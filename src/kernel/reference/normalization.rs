//! Softmax and the normalisations, composed of candle's element-wise operators and sums.
//!
//! Not candle-nn's `layer_norm`: it takes the variance as E[x²] − mean², which cancels where the
//! mean is large.

use super::{Entry, OnCandle, boxed, floats, serial, to_candle, to_ours};
use crate::kernel::normalization::trains;
use crate::kernel::softmax::Rows;
use crate::kernel::{Inputs, OpSpec};
use crate::tensor::{ElementType, Tensor};
use candle_core::{Result, Tensor as Candle};

pub(super) const OPS: &[Entry] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("LayerNormalization", layer),
    ("LogSoftmax", |s| softmax(s, true)),
    ("Softmax", |s| softmax(s, false)),
];

fn softmax(spec: &OpSpec<'_>, log: bool) -> Option<OnCandle> {
    let rows = Rows::new(spec).ok()?;
    boxed(move |_, inputs| {
        let x = floats(inputs, 0)?;
        serial(x.len())?;
        let (width, inner) = rows.of(x.shape()).ok()?;
        let lines = [x.len() / (width * inner), width, inner];
        let compute = |x: Candle| -> Result<Candle> {
            let shifted = x.broadcast_sub(&x.max_keepdim(1)?)?;
            let exp = shifted.exp()?;
            let sum = exp.sum_keepdim(1)?;
            if log { shifted.broadcast_sub(&sum.log()?) } else { exp.broadcast_div(&sum) }
        };
        let result = compute(to_candle(x)?.reshape(&lines).ok()?).ok()?;
        to_ours(result.reshape(x.dims()), x.dtype())
    })
}

fn epsilon(spec: &OpSpec<'_>) -> Option<f64> {
    spec.attributes.float("epsilon", 1e-5).ok().map(f64::from)
}

/// Input `i`, where it has `len` values of that type, as a tensor of these dimensions.
fn parameter(inputs: &Inputs<'_>, i: usize, dtype: ElementType, dims: &[usize]) -> Option<Candle> {
    let len: usize = dims.iter().product();
    let tensor: &Tensor = floats(inputs, i).filter(|p| p.dtype() == dtype && p.len() == len)?;
    to_candle(tensor)?.reshape(dims).ok()
}

/// Lines (the last axis) centred and divided by their deviation, in two passes.
fn standardised(x: &Candle, epsilon: f64) -> Result<Candle> {
    let last = x.rank() - 1;
    let centred = x.broadcast_sub(&x.mean_keepdim(last)?)?;
    let variance = centred.sqr()?.mean_keepdim(last)?;
    centred.broadcast_div(&variance.affine(1.0, epsilon)?.sqrt()?)
}

fn layer(spec: &OpSpec<'_>) -> Option<OnCandle> {
    if spec.wants(1) || spec.wants(2) {
        return None;
    }
    let axis = spec.attributes.int("axis", -1).ok()?;
    let (epsilon, has_bias) = (epsilon(spec)?, spec.has_input(2));
    boxed(move |_, inputs| {
        let x = floats(inputs, 0)?;
        serial(x.len())?;
        let axis = x.shape().axis(axis).ok()?;
        let width: usize = x.dims()[axis..].iter().product();
        let lines = to_candle(x)?.reshape((x.len() / width, width)).ok()?;
        let scale = parameter(inputs, 1, x.dtype(), &[1, width])?;
        let mut y = standardised(&lines, epsilon).ok()?.broadcast_mul(&scale).ok()?;
        if has_bias {
            y = y.broadcast_add(&parameter(inputs, 2, x.dtype(), &[1, width])?).ok()?;
        }
        to_ours(y.reshape(x.dims()), x.dtype())
    })
}

/// Input 0 with all positions of a channel in one line.
struct Planes<'i> {
    x: &'i Tensor,
    channels: usize,
    lines: Candle,
}

impl<'i> Planes<'i> {
    fn of(inputs: &'i Inputs<'_>) -> Option<Planes<'i>> {
        let x = floats(inputs, 0)?;
        serial(x.len())?;
        let &[images, channels, ..] = x.dims() else { return None };
        let planes = (images, channels, x.len() / (images * channels));
        Some(Planes { x, channels, lines: to_candle(x)?.reshape(planes).ok()? })
    }

    /// Input `i`, with a value for each channel.
    fn parameter(&self, inputs: &Inputs<'_>, i: usize) -> Option<Candle> {
        parameter(inputs, i, self.x.dtype(), &[1, self.channels, 1])
    }
}

fn instance(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let epsilon = epsilon(spec)?;
    boxed(move |_, inputs| {
        let planes = Planes::of(inputs)?;
        let (scale, bias) = (planes.parameter(inputs, 1)?, planes.parameter(inputs, 2)?);
        let y = standardised(&planes.lines, epsilon).ok()?;
        let y = y.broadcast_mul(&scale).ok()?.broadcast_add(&bias).ok()?;
        to_ours(y.reshape(planes.x.dims()), planes.x.dtype())
    })
}

fn batch(spec: &OpSpec<'_>) -> Option<OnCandle> {
    if trains(spec) {
        return None;
    }
    let epsilon = epsilon(spec)?;
    boxed(move |_, inputs| {
        let planes = Planes::of(inputs)?;
        let p = |i| planes.parameter(inputs, i);
        let (scale, bias, mean, variance) = (p(1)?, p(2)?, p(3)?, p(4)?);
        let compute = || -> Result<Candle> {
            let centred = planes.lines.broadcast_sub(&mean)?;
            let y = centred.broadcast_div(&variance.affine(1.0, epsilon)?.sqrt()?)?;
            y.broadcast_mul(&scale)?.broadcast_add(&bias)
        };
        to_ours(compute().ok()?.reshape(planes.x.dims()), planes.x.dtype())
    })
}
