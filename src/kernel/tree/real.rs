//! The two precisions of rows, thresholds, leaves and sums.

use crate::kernel::simd::blend::Ranked;

/// A feature, threshold, leaf weight or score.
pub(super) trait Real:
    Ranked
    + Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
    + std::ops::Add<Output = Self>
    + std::ops::AddAssign
    + std::ops::Mul<Output = Self>
{
    const ZERO: Self;
    const NAN: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    /// The nearest value.
    fn of(value: f64) -> Self;
    fn f32(self) -> f32;
    fn f64(self) -> f64;
    fn is_nan(self) -> bool;
    /// The largest value that is not above `t`; NaN where there is none.
    fn at_most(t: f64) -> Self;
    /// The largest value below `t`; NaN where there is none.
    fn below(t: f64) -> Self;
    /// A NaN that carries a number below [`MAX_PAYLOAD`].
    fn numbered(payload: u32) -> Self;
    /// The number in a NaN of [`Real::numbered`].
    fn number(self) -> u32;
    fn negated(self) -> Self;
    fn divided(self, count: u32) -> Self;
    /// `1 - self`.
    fn complement(self) -> Self;
}

/// Numbers that a NaN of the narrower precision can carry.
pub(super) const MAX_PAYLOAD: usize = 1 << 22;

macro_rules! real {
    ($($t:ident $bits:ident),+) => {$(
        impl Real for $t {
            const ZERO: Self = 0.0;
            const NAN: Self = $t::NAN;
            const INFINITY: Self = $t::INFINITY;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            fn of(value: f64) -> Self { value as $t }
            fn f32(self) -> f32 { self as f32 }
            fn f64(self) -> f64 { self.into() }
            fn is_nan(self) -> bool { $t::is_nan(self) }
            fn at_most(t: f64) -> Self {
                let near = t as $t;
                if f64::from(near) > t { near.next_down() } else { near }
            }
            fn below(t: f64) -> Self {
                let near = t as $t;
                if f64::from(near) < t {
                    near
                } else if near == $t::NEG_INFINITY {
                    $t::NAN
                } else {
                    near.next_down()
                }
            }
            fn numbered(payload: u32) -> Self {
                <$t>::from_bits($t::NAN.to_bits() | $bits::from(payload))
            }
            #[allow(clippy::cast_possible_truncation)] // the low bits are what is wanted
            fn number(self) -> u32 { self.to_bits() as u32 & (MAX_PAYLOAD as u32 - 1) }
            fn negated(self) -> Self { -self }
            fn divided(self, count: u32) -> Self { self / count as $t }
            fn complement(self) -> Self { 1.0 - self }
        }
    )+};
}

real!(f32 u32, f64 u64);
