//! The arithmetic of one pair of elements, by type.

use super::broadcast::Lanes;
use half::{bf16, f16};

/// Arithmetic as ONNX's reference does it: integers wrap, floats follow IEEE 754, and maximum and
/// minimum hand NaN on.
pub trait Arithmetic: Lanes + PartialOrd {
    /// Whether division by this value is an error.
    fn is_zero_divisor(self) -> bool;
    /// `self + other`
    fn plus(self, other: Self) -> Self;
    /// `self − other`
    fn minus(self, other: Self) -> Self;
    /// `self · other`
    fn times(self, other: Self) -> Self;
    /// `self / other`, towards zero for integers.
    fn over(self, other: Self) -> Self;
    /// The remainder with the sign of `self` (C's fmod).
    fn fmod(self, other: Self) -> Self;
    /// The remainder with the sign of `other` (Python's %).
    fn modulo(self, other: Self) -> Self;
    /// The larger.
    fn larger(self, other: Self) -> Self;
    /// The smaller.
    fn smaller(self, other: Self) -> Self;
    /// What a product begins with.
    fn one() -> Self;
    /// `self / n`
    fn divided_by_count(self, n: usize) -> Self;
}

macro_rules! float {
    ($($t:ty, $count:expr);+ $(;)?) => {$(
        impl Arithmetic for $t {
            #[inline(always)]
            fn is_zero_divisor(self) -> bool { false }
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn minus(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self * other }
            #[inline(always)]
            fn over(self, other: Self) -> Self { self / other }
            #[inline(always)]
            fn fmod(self, other: Self) -> Self { self % other }
            #[inline(always)]
            fn modulo(self, other: Self) -> Self {
                let r = self % other;
                let zero = <$t>::default();
                if r == zero {
                    zero.copysign(other)
                } else if (r < zero) != (other < zero) {
                    r + other
                } else {
                    r
                }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
            fn one() -> Self { $count(1usize) }
            #[inline(always)]
            fn divided_by_count(self, n: usize) -> Self { self / $count(n) }
        }
    )+};
}
float! {
    f32, |n| n as f32;
    f64, |n| n as f64;
    f16, |n| f16::from_f32(n as f32);
    bf16, |n| bf16::from_f32(n as f32);
}

macro_rules! integer {
    ($($t:ty),+) => {$(
        impl Arithmetic for $t {
            fn is_zero_divisor(self) -> bool { self == 0 }
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn minus(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn fmod(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            #[allow(unused_comparisons)] // unsigned remainders are never negative
            fn modulo(self, other: Self) -> Self {
                let r = self.fmod(other);
                if r != 0 && (r < 0) != (other < 0) { r.wrapping_add(other) } else { r }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self { self.max(other) }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self { self.min(other) }
            fn one() -> Self { 1 }
            #[inline(always)]
            fn divided_by_count(self, n: usize) -> Self {
                <$t>::try_from(n).map_or(0, |n| self.over(n))
            }
        }
    )+};
}
integer!(i8, i16, i32, i64, u8, u16, u32, u64);

/// `for_numeric!(dtype, T => expression, other => expression)`: the first with `T` bound to the
/// type of that name where it is one of numbers.
macro_rules! for_numeric {
    ($dtype:expr, $t:ident => $body:expr, $other:ident => $otherwise:expr) => {{
        use crate::tensor::ElementType;
        macro_rules! typed {
            ($rust:ty) => {{
                type $t = $rust;
                $body
            }};
        }
        match $dtype {
            ElementType::F32 => typed!(f32),
            ElementType::F64 => typed!(f64),
            ElementType::F16 => typed!(half::f16),
            ElementType::BF16 => typed!(half::bf16),
            ElementType::I8 => typed!(i8),
            ElementType::I16 => typed!(i16),
            ElementType::I32 => typed!(i32),
            ElementType::I64 => typed!(i64),
            ElementType::U8 => typed!(u8),
            ElementType::U16 => typed!(u16),
            ElementType::U32 => typed!(u32),
            ElementType::U64 => typed!(u64),
            $other => $otherwise,
        }
    }};
}
pub(in crate::kernel) use for_numeric;
