//! The floats that normalisations are computed in.

use crate::error::{Result, ensure};
use crate::kernel::elementwise::broadcast::Lanes;
use crate::kernel::{Inputs, simd};
use crate::tensor::{Data, Tensor};
use std::borrow::Cow;
use std::ops::{Add, Div, Mul, Sub};

/// `f32` or `f64`.
pub trait Real:
    Lanes
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The nearest value.
    fn of(value: f64) -> Self;
    /// The value in double precision.
    fn wide(self) -> f64;
    /// The sum of a line, in an order that depends on its length alone.
    fn sum(line: &[Self]) -> Self;
    /// The sum of `(x − mean)²`.
    fn centered_square_sum(line: &[Self], mean: Self) -> Self;
    /// The elements of a parameter, converted where it is of another float type.
    fn read(tensor: &Tensor) -> Result<Cow<'_, [Self]>>;
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
    fn sum(line: &[f32]) -> f32 {
        simd::sum(line)
    }
    fn centered_square_sum(line: &[f32], mean: f32) -> f32 {
        simd::centered_square_sum(line, mean)
    }
    fn read(tensor: &Tensor) -> Result<Cow<'_, [f32]>> {
        Ok(match tensor.data() {
            Data::F32(v) => Cow::Borrowed(v),
            _ => Cow::Owned(tensor.to_f32_vec()?),
        })
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
    fn wide(self) -> f64 {
        self
    }
    fn sum(line: &[f64]) -> f64 {
        line.iter().sum()
    }
    fn centered_square_sum(line: &[f64], mean: f64) -> f64 {
        line.iter().map(|v| (v - mean) * (v - mean)).sum()
    }
    fn read(tensor: &Tensor) -> Result<Cow<'_, [f64]>> {
        Ok(match tensor.data() {
            Data::F64(v) => Cow::Borrowed(v),
            _ => Cow::Owned(tensor.to_f64_vec()?),
        })
    }
}

/// Input `i`, which must have `len` values.
pub fn parameter<'i, T: Real>(
    inputs: &'i Inputs<'_>,
    i: usize,
    len: usize,
) -> Result<Cow<'i, [T]>> {
    let tensor = inputs.tensor(i)?;
    ensure!(
        tensor.len() == len,
        InvalidInput,
        "input {i} must have {len} values, got shape {}",
        tensor.shape()
    );
    T::read(tensor)
}

/// Mean and variance of a line, in two passes.
pub fn moments<T: Real>(line: &[T]) -> (T, T) {
    let n = T::of(line.len() as f64);
    let mean = T::sum(line) / n;
    (mean, T::centered_square_sum(line, mean) / n)
}

/// 1/√(variance + ε)
pub fn inverse_deviation<T: Real>(variance: T, epsilon: f64) -> T {
    T::of(1.0 / (variance.wide() + epsilon).sqrt())
}
