//! The floating-point types that network kernels compute in, and the way there from the
//! narrower ones.

use crate::error::{Result, bail};
use crate::tensor::{Data, Element, ElementType, Tensor};
use half::{bf16, f16};
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f32` or `f64`.
pub(in crate::kernel) trait Real:
    Element
    + Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    const ZERO: Self;
    const ONE: Self;
    fn from_f32(x: f32) -> Self;
    fn from_f64(x: f64) -> Self;
    fn abs(self) -> Self;
    fn exp(self) -> Self;
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn powf(self, y: Self) -> Self;
    fn is_nan(self) -> bool;
    /// `self · b + c` in one rounding: an instruction only where the compiler may use it.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// `x` kept within `low..=high`; NaN stays NaN.
    fn between(self, low: Self, high: Self) -> Self {
        if self < low {
            low
        } else if self > high {
            high
        } else {
            self
        }
    }

    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

macro_rules! real {
    ($($t:ident),+) => {$(
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn from_f32(x: f32) -> Self { x as $t }
            fn from_f64(x: f64) -> Self { x as $t }
            fn abs(self) -> Self { self.abs() }
            fn exp(self) -> Self { self.exp() }
            fn ln_1p(self) -> Self { self.ln_1p() }
            fn tanh(self) -> Self { self.tanh() }
            fn sqrt(self) -> Self { self.sqrt() }
            fn powf(self, y: Self) -> Self { self.powf(y) }
            fn is_nan(self) -> bool { self.is_nan() }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self { self.mul_add(b, c) }
        }
    )+};
}
real!(f32, f64);

/// The tensor itself, or its elements as `f32` where they are of a half precision.
pub(in crate::kernel) fn widened(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        ElementType::F16 | ElementType::BF16 => {
            Tensor::new(tensor.shape().clone(), Data::F32(tensor.to_f32_vec()?))
        }
        _ => Ok(tensor.clone()),
    }
}

/// The tensor rounded to `dtype` where that is of a half precision and the tensor is `f32`.
pub(in crate::kernel) fn narrowed(tensor: Tensor, dtype: ElementType) -> Result<Tensor> {
    let data = match (tensor.data(), dtype) {
        (Data::F32(v), ElementType::F16) => {
            Data::F16(v.iter().map(|&x| f16::from_f32(x)).collect())
        }
        (Data::F32(v), ElementType::BF16) => {
            Data::BF16(v.iter().map(|&x| bf16::from_f32(x)).collect())
        }
        _ => return Ok(tensor),
    };
    Tensor::new(tensor.shape().clone(), data)
}

/// The error for an element type an operator does not compute in.
pub(in crate::kernel) fn wrong_type<T>(op: &str, dtype: ElementType) -> Result<T> {
    bail!(InvalidInput, "{op} does not compute in {dtype}")
}

/// `with_real!(op, dtype, T => expression)`: the expression with `T` bound to the type that
/// elements of `dtype` are computed in.
macro_rules! with_real {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::ElementType::F32
            | $crate::tensor::ElementType::F16
            | $crate::tensor::ElementType::BF16 => {
                type $t = f32;
                $body
            }
            $crate::tensor::ElementType::F64 => {
                type $t = f64;
                $body
            }
            other => $crate::kernel::conv::real::wrong_type($op, other),
        }
    };
}
pub(in crate::kernel) use with_real;
