//! From numbers to the levels of a quantised type.

use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Element, ElementType, Tensor};

/// The whole number next to `x`, the even one where two are as near; for |x| up to 2²².
///
/// Beyond 2²³ a float has no fraction left: adding such a number rounds, taking it away again is
/// exact. Unlike the rounding function that is an addition on every CPU.
#[inline(always)]
fn whole(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2²³
    (x + SHIFT) - SHIFT
}

/// The levels that a quantised type has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    pub low: f32,
    pub high: f32,
}

impl Levels {
    /// `x` kept between `low` and `high`; the lower one for NaN.
    #[inline(always)]
    fn bounded(x: f32, low: f32, high: f32) -> f32 {
        let x = if x > low { x } else { low };
        if x < high { x } else { high }
    }

    /// `saturate(round(x) + zero)`, the quantisation of ONNX; NaN becomes the lowest level.
    #[inline(always)]
    pub fn round_then_shift(self, x: f32, zero: f32) -> f32 {
        whole(Levels::bounded(x, self.low - zero, self.high - zero)) + zero
    }

    /// `saturate(round(x))` for an `x` that holds the zero point already, as ONNX Runtime's
    /// element-wise operators have it: halves go another way where the zero point is odd.
    #[inline(always)]
    pub fn round(self, x: f32) -> f32 {
        whole(Levels::bounded(x, self.low, self.high))
    }
}

/// An 8-bit integer type.
pub(super) trait Byte: Element + Copy + Into<i16> {
    const LEVELS: Levels;

    /// The element for a level of this type.
    fn of(level: f32) -> Self;

    /// `saturate(round(x) + zero)`.
    #[inline(always)]
    fn quantised(x: f32, zero: f32) -> Self {
        Self::of(Self::LEVELS.round_then_shift(x, zero))
    }
}

impl Byte for u8 {
    const LEVELS: Levels = Levels { low: 0.0, high: 255.0 };
    #[inline(always)]
    fn of(level: f32) -> u8 {
        level as i32 as u8
    }
}

impl Byte for i8 {
    const LEVELS: Levels = Levels { low: -128.0, high: 127.0 };
    #[inline(always)]
    fn of(level: f32) -> i8 {
        level as i32 as i8
    }
}

/// The error for an element type other than the 8-bit integers.
pub(super) fn no_byte<T>(op: &str, dtype: ElementType) -> Result<T> {
    bail!(InvalidInput, "{op} takes int8 and uint8, got {dtype}")
}

/// `with_byte!(op, dtype, T => expression)`: the expression with `T` bound to the 8-bit integer
/// type `dtype`.
macro_rules! with_byte {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::ElementType::U8 => {
                type $t = u8;
                $body
            }
            $crate::tensor::ElementType::I8 => {
                type $t = i8;
                $body
            }
            other => $crate::kernel::quantize::level::no_byte($op, other),
        }
    };
}
pub(super) use with_byte;

/// `expression` with `v` bound to the elements of an 8-bit tensor.
macro_rules! with_bytes {
    ($op:expr, $tensor:expr, $v:ident => $body:expr) => {
        match $tensor.data() {
            $crate::tensor::Data::U8($v) => $body,
            $crate::tensor::Data::I8($v) => $body,
            other => $crate::kernel::quantize::level::no_byte($op, other.dtype()),
        }
    };
}
pub(super) use with_bytes;

/// The only element of a scale, rounded to `f32`.
pub(super) fn scale(tensor: &Tensor, what: &str) -> Result<f32> {
    ensure!(tensor.dtype().is_float(), InvalidInput, "{what} is of type {}", tensor.dtype());
    match tensor.to_f32_vec()?.as_slice() {
        &[scale] => Ok(scale),
        _ => bail!(InvalidInput, "{what} is of shape {}, expected one number", tensor.shape()),
    }
}

/// The only element of a zero point of type `dtype`; 0 where it is left out.
pub(super) fn zero(tensor: Option<&Tensor>, dtype: ElementType, what: &str) -> Result<i16> {
    match zeros(tensor, dtype, what)?.as_slice() {
        [] => Ok(0),
        &[zero] => Ok(zero),
        more => bail!(InvalidInput, "{what} has {} elements, expected one", more.len()),
    }
}

/// The elements of 8-bit zero points of type `dtype`; none where they are left out.
pub(super) fn zeros(tensor: Option<&Tensor>, dtype: ElementType, what: &str) -> Result<Vec<i16>> {
    let Some(tensor) = tensor else { return Ok(vec![]) };
    ensure!(
        tensor.dtype() == dtype,
        InvalidInput,
        "{what} is of type {}, expected {dtype}",
        tensor.dtype()
    );
    let zeros: Vec<i16> = match tensor.data() {
        Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I8(v) => v.iter().map(|&x| x.into()).collect(),
        other => return no_byte(what, other.dtype()),
    };
    ensure!(!zeros.is_empty(), InvalidInput, "{what} has no elements");
    Ok(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_level_and_the_rest_saturates() {
        let q = |x: f32| u8::quantised(x, 1.0);
        assert_eq!([0.5, 1.5, 2.5, 0.49].map(q), [1, 3, 3, 1]);
        assert_eq!([-0.5, -1.5, 300.0, f32::INFINITY].map(q), [1, 0, 255, 255]);
        assert_eq!([f32::NAN, f32::NEG_INFINITY].map(q), [0, 0]);
        assert_eq!(
            [-0.5, 126.5, 127.5, -128.5, -1e30].map(|x| i8::quantised(x, 0.0)),
            [0, 126, 127, -128, -128]
        );
        let wide = Levels { low: 0.0, high: 65535.0 };
        assert_eq!(wide.round_then_shift(32767.5, 32767.0), 65535.0);
        assert_eq!(wide.round_then_shift(-32766.5, 32767.0), 1.0);
    }

    #[test]
    fn rounding_with_the_zero_point_inside_differs_for_odd_ones() {
        assert_eq!(u8::LEVELS.round(0.5 + 1.0), 2.0);
        assert_eq!(u8::LEVELS.round_then_shift(0.5, 1.0), 1.0);
        assert_eq!(i8::LEVELS.round(-200.0), -128.0);
    }
}
