//! Linear and cubic interpolation, axis by axis.

use super::coordinates::{Axis, Coordinates};
use crate::error::{Result, ensure};
use crate::kernel::Context;
use crate::kernel::conv::real::Real;

/// How values between elements are found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// The coefficient of cubic interpolation; `None` is linear.
    pub cubic: Option<f32>,
    /// Whether a shrinking axis widens the filter.
    pub antialias: bool,
    /// Whether elements beyond the border count nothing, instead of as the border's.
    pub exclude_outside: bool,
}

/// The weighted input elements of each output coordinate of an axis, `width` of them each.
struct Taps<T> {
    width: usize,
    indices: Vec<usize>,
    weights: Vec<T>,
}

/// The cubic convolution kernel at distance `x`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

impl Options {
    fn taps<T: Real>(
        &self,
        ctx: &Context<'_>,
        axis: &Axis,
        coordinates: Coordinates,
    ) -> Result<Taps<T>> {
        let reach = if self.cubic.is_some() { 2.0 } else { 1.0 };
        // Without antialiasing the filter is as wide as between neighbours.
        let squeeze = if self.antialias { f64::from(axis.scale).min(1.0) } else { 1.0 };
        ensure!(
            (0.0..1e9).contains(&(reach / squeeze)),
            InvalidInput,
            "Resize: a scale of {} is too small",
            axis.scale
        );
        let first = (-reach / squeeze).floor() as i64 + 1;
        let width = (2 - 2 * first) as usize;
        let len = ctx.shape_of::<u64>(&[axis.output, width, 2])?.len() / 2;
        let last = axis.input as i64 - 1;
        let mut taps =
            Taps { width, indices: Vec::with_capacity(len), weights: Vec::with_capacity(len) };
        let mut weights: Vec<f64> = Vec::with_capacity(width);
        for at in 0..axis.output {
            let x = f64::from(axis.source(coordinates, at)).clamp(-1e12, 1e12);
            let whole = x.floor();
            let ratio = x - whole;
            weights.clear();
            for k in 0..width as i64 {
                let distance = ((first + k) as f64 - ratio) * squeeze;
                let inside = (0..=last).contains(&(whole as i64 + first + k));
                weights.push(if self.exclude_outside && !inside {
                    0.0
                } else {
                    match self.cubic {
                        Some(a) => cubic(distance, a.into()),
                        None => (1.0 - distance.abs()).max(0.0),
                    }
                });
            }
            let sum: f64 = weights.iter().sum();
            let normalise = (self.exclude_outside || self.antialias) && sum != 0.0;
            for (k, &w) in (0..).zip(&weights) {
                let index = (whole as i64 + first + k).clamp(0, last.max(0));
                taps.indices.push(index as usize);
                taps.weights.push(T::from_f64(if normalise { w / sum } else { w }));
            }
        }
        Ok(taps)
    }
}

/// Resizes axis after axis, the innermost first (there the input is smallest and gathering
/// cannot be vectorised).
pub(super) fn resize<T: Real>(
    ctx: &mut Context<'_>,
    data: &[T],
    axes: &[Axis],
    coordinates: Coordinates,
    options: Options,
) -> Result<Vec<T>> {
    let mut dims: Vec<usize> = axes.iter().map(|a| a.input).collect();
    let mut current: Option<Vec<T>> = None;
    for (i, axis) in axes.iter().enumerate().rev() {
        if axis.is_unchanged() {
            continue;
        }
        let taps = options.taps::<T>(ctx, axis, coordinates)?;
        dims[i] = axis.output;
        let inner: usize = dims[i + 1..].iter().product();
        let mut out = ctx.filled(dims.iter().product(), T::ZERO)?;
        let input = current.as_deref().unwrap_or(data);
        let (from, to) = (axis.input * inner, axis.output * inner);
        ctx.threads.split_rows(&mut out, to, to.saturating_mul(taps.width), |range, chunk| {
            for (i, out) in range.zip(chunk.chunks_mut(to.max(1))) {
                let input = input.get(i * from..(i + 1) * from).unwrap_or(&[]);
                along(&taps, input, inner, out);
            }
        });
        if let Some(old) = current.replace(out) {
            ctx.recycle(old);
        }
        ctx.check_deadline()?;
    }
    match current {
        Some(out) => Ok(out),
        None => {
            let mut out = ctx.buffer(data.len())?;
            out.extend_from_slice(data);
            Ok(out)
        }
    }
}

/// One block of one axis: each output row is a weighted sum of input rows of `inner` elements.
fn along<T: Real>(taps: &Taps<T>, input: &[T], inner: usize, out: &mut [T]) {
    let pairs = taps.indices.chunks(taps.width).zip(taps.weights.chunks(taps.width));
    if inner == 1 {
        for ((indices, weights), out) in pairs.zip(out) {
            let mut sum = T::ZERO;
            for (&i, &w) in indices.iter().zip(weights) {
                if let Some(&x) = input.get(i)
                    && w != T::ZERO
                {
                    sum += w * x;
                }
            }
            *out = sum;
        }
        return;
    }
    for ((indices, weights), out) in pairs.zip(out.chunks_mut(inner.max(1))) {
        for (&i, &w) in indices.iter().zip(weights) {
            if w != T::ZERO {
                let row = input.get(i * inner..(i + 1) * inner).unwrap_or(&[]);
                out.iter_mut().zip(row).for_each(|(o, &x)| *o += w * x);
            }
        }
    }
}
