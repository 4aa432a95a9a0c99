//! Integers of two and four bits, one to a byte in memory. Files pack them.

use std::fmt;

macro_rules! small_int {
    ($($(#[$doc:meta])* $name:ident($inner:ty), $bits:literal, $lowest:literal, $highest:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const MIN: $name = $name($lowest);
            /// The largest value.
            pub const MAX: $name = $name($highest);

            /// The low bits of `value`, in two's complement.
            pub fn wrapping(value: i64) -> $name {
                const UNUSED: u32 = <$inner>::BITS - $bits;
                $name(((value as $inner) << UNUSED) >> UNUSED)
            }

            /// The value nearest to `value`.
            pub fn saturating(value: i64) -> $name {
                $name(value.clamp($lowest, $highest) as $inner)
            }

            /// The value.
            pub fn get(self) -> $inner {
                self.0
            }

            /// The value as a number.
            pub fn to_f32(self) -> f32 {
                f32::from(self.0)
            }

            /// The bits of the value, the upper ones zero.
            pub(crate) fn bits(self) -> u8 {
                self.0 as u8 & ((1 << $bits) - 1)
            }

            /// The value of these bits; the upper ones do not count.
            pub(crate) fn from_bits(bits: u8) -> $name {
                $name::wrapping(i64::from(bits))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

small_int! {
    /// A signed integer of four bits, −8 to 7 (ONNX: `INT4`).
    Int4(i8), 4, -8, 7;
    /// An unsigned integer of four bits, 0 to 15 (ONNX: `UINT4`).
    UInt4(u8), 4, 0, 15;
    /// A signed integer of two bits, −2 to 1 (ONNX: `INT2`).
    Int2(i8), 2, -2, 1;
    /// An unsigned integer of two bits, 0 to 3 (ONNX: `UINT2`).
    UInt2(u8), 2, 0, 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bits_are_kept_and_values_saturate() {
        let wrapped: Vec<i8> = [-9, -8, 7, 8, 15, 16].map(|v| Int4::wrapping(v).get()).to_vec();
        assert_eq!(wrapped, [7, -8, 7, -8, -1, 0]);
        assert_eq!([-1, 16, 31].map(|v| UInt4::wrapping(v).get()), [15, 0, 15]);
        assert_eq!([-3, -2, 1, 2].map(|v| Int2::wrapping(v).get()), [1, -2, 1, -2]);
        assert_eq!([-1, 3, 4].map(|v| UInt2::wrapping(v).get()), [3, 3, 0]);
        assert_eq!([i64::MIN, 9].map(|v| Int4::saturating(v).get()), [-8, 7]);
        assert_eq!([-1, i64::MAX].map(|v| UInt2::saturating(v).get()), [0, 3]);
    }

    #[test]
    fn bits_come_back() {
        for value in -8..8 {
            assert_eq!(Int4::from_bits(Int4::wrapping(value).bits()), Int4::wrapping(value));
        }
        assert_eq!(Int4::wrapping(-1).bits(), 15);
        assert_eq!(Int2::wrapping(-1).bits(), 3);
        assert_eq!(UInt4::from_bits(0xf3), UInt4::wrapping(3));
    }
}
