//! How one number becomes another.

use crate::tensor::{
    Element, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2,
    Float8E5M2FNUZ, Float8E8M0, Int2, Int4, UInt2, UInt4,
};
use half::{bf16, f16};

/// A number widened without loss, on its way from one type to another.
pub(super) trait Wide: Copy {
    fn narrow<T: Target>(self) -> T;
}

/// A type that numbers are read from.
pub(super) trait Source: Element {
    type Wide: Wide;
    fn widen(&self) -> Self::Wide;
}

/// A type that numbers are written to: floats round to nearest even, integers from floats
/// truncate and saturate (NaN is 0) and from integers keep the low bits, bools are "not zero".
pub(super) trait Target: Element {
    fn from_f32(v: f32) -> Self;
    fn from_f64(v: f64) -> Self;
    fn from_i64(v: i64) -> Self;
    fn from_u64(v: u64) -> Self;
}

macro_rules! wide {
    ($($t:ty => $from:ident),+) => {$(
        impl Wide for $t {
            fn narrow<T: Target>(self) -> T { T::$from(self) }
        }
    )+};
}
wide!(f32 => from_f32, f64 => from_f64, i64 => from_i64, u64 => from_u64);

macro_rules! source {
    ($($t:ty => $wide:ty: $v:ident $widen:expr;)+) => {$(
        impl Source for $t {
            type Wide = $wide;
            fn widen(&self) -> $wide { let $v = *self; $widen }
        }
    )+};
}
source! {
    f32 => f32: v v;
    f16 => f32: v v.to_f32();
    bf16 => f32: v v.to_f32();
    f64 => f64: v v;
    i8 => i64: v v.into();
    i16 => i64: v v.into();
    i32 => i64: v v.into();
    i64 => i64: v v;
    u8 => i64: v v.into();
    u16 => i64: v v.into();
    u32 => i64: v v.into();
    u64 => u64: v v;
    bool => i64: v v.into();
    Int4 => i64: v v.get().into();
    UInt4 => i64: v v.get().into();
    Int2 => i64: v v.get().into();
    UInt2 => i64: v v.get().into();
    Float8E4M3FN => f32: v v.to_f32();
    Float8E4M3FNUZ => f32: v v.to_f32();
    Float8E5M2 => f32: v v.to_f32();
    Float8E5M2FNUZ => f32: v v.to_f32();
    Float8E8M0 => f32: v v.to_f32();
    Float6E2M3 => f32: v v.to_f32();
    Float6E3M2 => f32: v v.to_f32();
    Float4E2M1 => f32: v v.to_f32();
}

macro_rules! target {
    ($($t:ty),+) => {$(
        impl Target for $t {
            fn from_f32(v: f32) -> Self { v as $t }
            fn from_f64(v: f64) -> Self { v as $t }
            fn from_i64(v: i64) -> Self { v as $t }
            fn from_u64(v: u64) -> Self { v as $t }
        }
    )+};
}
target!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! half_target {
    ($($t:ty),+) => {$(
        impl Target for $t {
            fn from_f32(v: f32) -> Self { <$t>::from_f32(v) }
            fn from_f64(v: f64) -> Self { <$t>::from_f32(to_odd(v)) }
            fn from_i64(v: i64) -> Self { <$t>::from_f32(v as f32) }
            fn from_u64(v: u64) -> Self { <$t>::from_f32(v as f32) }
        }
    )+};
}
half_target!(f16, bf16);

/// Floats are cut to whole numbers, whose low bits stay: as with wider integers from integers.
macro_rules! small_int_target {
    ($($t:ty),+) => {$(
        impl Target for $t {
            fn from_f32(v: f32) -> Self { <$t>::wrapping(v as i64) }
            fn from_f64(v: f64) -> Self { <$t>::wrapping(v as i64) }
            fn from_i64(v: i64) -> Self { <$t>::wrapping(v) }
            fn from_u64(v: u64) -> Self { <$t>::wrapping(v as i64) }
        }
    )+};
}
small_int_target!(Int4, UInt4, Int2, UInt2);

/// Saturating: what Cast does unless it is told otherwise.
macro_rules! small_float_target {
    ($($t:ty),+) => {$(
        impl Target for $t {
            fn from_f32(v: f32) -> Self { <$t>::from_f32(v, true) }
            fn from_f64(v: f64) -> Self { <$t>::from_f64(v, true) }
            fn from_i64(v: i64) -> Self { <$t>::from_f64(v as f64, true) }
            fn from_u64(v: u64) -> Self { <$t>::from_f64(v as f64, true) }
        }
    )+};
}
small_float_target!(
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Float4E2M1,
    Float6E2M3,
    Float6E3M2
);

impl Target for Float8E8M0 {
    fn from_f32(v: f32) -> Self {
        Float8E8M0::from_f32(v, true)
    }
    fn from_f64(v: f64) -> Self {
        Float8E8M0::from_f32(to_odd(v), true)
    }
    fn from_i64(v: i64) -> Self {
        Self::from_f64(v as f64)
    }
    fn from_u64(v: u64) -> Self {
        Self::from_f64(v as f64)
    }
}

impl Target for bool {
    fn from_f32(v: f32) -> Self {
        v != 0.0
    }
    fn from_f64(v: f64) -> Self {
        v != 0.0
    }
    fn from_i64(v: i64) -> Self {
        v != 0
    }
    fn from_u64(v: u64) -> Self {
        v != 0
    }
}

/// Rounds to `f32` so that a second rounding to fewer bits gives what one rounding would: an
/// inexact result takes the neighbour with an odd last bit.
pub(super) fn to_odd(v: f64) -> f32 {
    let near = v as f32;
    let back = f64::from(near);
    if back == v || v.is_nan() || near.to_bits() & 1 == 1 {
        near
    } else if back.abs() > v.abs() {
        f32::from_bits(near.to_bits() - 1)
    } else {
        f32::from_bits(near.to_bits() + 1)
    }
}
