//! Floats of four, six and eight bits, one to a byte in memory. Encodings: "FP8 Formats for Deep
//! Learning" (arXiv:2209.05433), "8-bit Numerical Formats for Deep Neural Networks"
//! (arXiv:2206.02915) for the FNUZ variants, the OCP Microscaling specification 1.0 for the
//! rest; conversions as the tables of ONNX's Cast say.

use std::fmt;

/// What the encodings without a number stand for.
#[derive(Clone, Copy, PartialEq)]
enum Special {
    /// Infinities and NaN as IEEE 754 has them.
    Ieee,
    /// No infinities; all exponent and mantissa bits set are NaN.
    Nan,
    /// No infinities and no negative zero, whose bits are NaN.
    Unsigned,
    /// Every encoding is a number.
    None,
}

/// An encoding: a sign, then the exponent, then the mantissa.
struct Format {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    special: Special,
}

impl Format {
    const fn sign(&self) -> u8 {
        1 << (self.exponent + self.mantissa)
    }

    /// The bits of the largest number.
    const fn largest(&self) -> u8 {
        let all = self.sign() - 1;
        match self.special {
            Special::Ieee => all - (1 << self.mantissa),
            Special::Nan => all - 1,
            Special::Unsigned | Special::None => all,
        }
    }

    fn decode(&self, bits: u8) -> f32 {
        let sign = bits & self.sign();
        let magnitude = bits & (self.sign() - 1);
        if self.special == Special::Unsigned && bits == self.sign() {
            return f32::NAN;
        }
        let value = if magnitude > self.largest() {
            let infinite = self.special == Special::Ieee && magnitude == self.largest() + 1;
            if infinite { f32::INFINITY } else { f32::NAN }
        } else {
            let exponent = i32::from(magnitude >> self.mantissa);
            let fraction = magnitude & ((1 << self.mantissa) - 1);
            let (whole, exponent) = match exponent {
                0 => (fraction, 1),
                _ => (fraction | 1 << self.mantissa, exponent),
            };
            f32::from(whole) * power_of_two(exponent - self.bias - self.mantissa as i32)
        };
        if sign != 0 { -value } else { value }
    }

    /// `value` rounded to the nearest number, ties to even.
    fn encode(&self, value: f64, saturate: bool) -> u8 {
        let sign = if value.is_sign_negative() { self.sign() } else { 0 };
        let signed = |magnitude: u8| match self.special {
            Special::Unsigned if magnitude == 0 => 0,
            _ => sign | magnitude,
        };
        if value.is_nan() {
            return match self.special {
                // The quiet NaN, as other implementations write it.
                Special::Ieee => sign | (self.largest() + 1 + (1 << (self.mantissa - 1))),
                Special::Nan => sign | (self.sign() - 1),
                Special::Unsigned => self.sign(),
                // There is none, so that it is a zero, negative as in ml_dtypes.
                Special::None => sign ^ self.sign(),
            };
        }
        let beyond = || match self.special {
            _ if saturate => sign | self.largest(),
            Special::Ieee => sign | (self.largest() + 1),
            Special::Nan => sign | (self.sign() - 1),
            Special::Unsigned => self.sign(),
            Special::None => sign | self.largest(),
        };
        if value.is_infinite() {
            return beyond();
        }
        // Doubles below the normal range are far below the smallest number here.
        let exponent = ((value.abs().to_bits() >> 52) as i32 - 1023).max(1 - self.bias);
        let unit = f64::from_bits(((exponent - self.mantissa as i32 + 1023) as u64) << 52);
        let steps = (value.abs() / unit).round_ties_even();
        // The mantissa's carry into the exponent is the right one.
        let magnitude = (i64::from(exponent + self.bias - 1) << self.mantissa) + steps as i64;
        if magnitude > i64::from(self.largest()) { beyond() } else { signed(magnitude as u8) }
    }
}

/// 2^`exponent`, for exponents of normal `f32`.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

macro_rules! small_float {
    ($($(#[$doc:meta])* $name:ident: $exponent:literal, $mantissa:literal, $bias:literal, $special:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u8);

        impl $name {
            const FORMAT: Format = Format {
                exponent: $exponent,
                mantissa: $mantissa,
                bias: $bias,
                special: Special::$special,
            };

            /// The value; exact.
            pub fn to_f32(self) -> f32 {
                Self::FORMAT.decode(self.0)
            }

            /// `value` rounded to the nearest number, ties to even. What is too large becomes
            /// the largest number where `saturate`, else infinity or NaN, as far as the type
            /// has them.
            pub fn from_f32(value: f32, saturate: bool) -> Self {
                Self::from_f64(f64::from(value), saturate)
            }

            /// As `from_f32`, with one rounding.
            pub fn from_f64(value: f64, saturate: bool) -> Self {
                $name(Self::FORMAT.encode(value, saturate))
            }

            /// The encoding.
            pub fn to_bits(self) -> u8 {
                self.0
            }

            /// The value of an encoding; bits above those of the type do not count.
            pub fn from_bits(bits: u8) -> Self {
                $name(bits & (Self::FORMAT.sign() | (Self::FORMAT.sign() - 1)))
            }
        }
        shown!($name);
    )+};
}

macro_rules! shown {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_f32().fmt(f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_f32().fmt(f)
            }
        }
    };
}

small_float! {
    /// A float of eight bits: four of exponent, three of mantissa, no infinities, up to 448
    /// (ONNX: `FLOAT8E4M3FN`).
    Float8E4M3FN: 4, 3, 7, Nan;
    /// As [`Float8E4M3FN`] without negative zero, up to 240 (ONNX: `FLOAT8E4M3FNUZ`).
    Float8E4M3FNUZ: 4, 3, 8, Unsigned;
    /// A float of eight bits: five of exponent, two of mantissa, with infinities, up to 57,344
    /// (ONNX: `FLOAT8E5M2`).
    Float8E5M2: 5, 2, 15, Ieee;
    /// As [`Float8E5M2`] without infinities and negative zero (ONNX: `FLOAT8E5M2FNUZ`).
    Float8E5M2FNUZ: 5, 2, 16, Unsigned;
    /// A float of four bits, all of them numbers, up to 6 (ONNX: `FLOAT4E2M1`).
    Float4E2M1: 2, 1, 1, None;
    /// A float of six bits, all of them numbers, up to 7.5 (ONNX: `FLOAT6E2M3`).
    Float6E2M3: 2, 3, 1, None;
    /// A float of six bits, all of them numbers, up to 28 (ONNX: `FLOAT6E3M2`).
    Float6E3M2: 3, 2, 3, None;
}

/// How [`Float8E8M0`] rounds between two powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PowerRounding {
    /// Away from zero.
    #[default]
    Up,
    /// Toward zero.
    Down,
    /// To the nearer one, ties up.
    Nearest,
}

/// A power of two from 2⁻¹²⁷ to 2¹²⁷, or NaN: a scale without sign and mantissa (ONNX:
/// `FLOAT8E8M0`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Float8E8M0(u8);

impl Float8E8M0 {
    const NAN: u8 = u8::MAX;
    const MAX: u8 = u8::MAX - 1;

    /// The value; exact.
    pub fn to_f32(self) -> f32 {
        match self.0 {
            Self::NAN => f32::NAN,
            0 => f32::from_bits(1 << 22), // 2⁻¹²⁷ is below the normal numbers
            exponent => f32::from_bits(u32::from(exponent) << 23),
        }
    }

    /// As [`Float8E8M0::rounded`], away from zero.
    pub fn from_f32(value: f32, saturate: bool) -> Self {
        Self::rounded(value, saturate, PowerRounding::Up)
    }

    /// A power of two near `value`. Zero and what is out of range become the nearest number
    /// where `saturate`, else NaN; the sign does not count.
    pub fn rounded(value: f32, saturate: bool, rounding: PowerRounding) -> Self {
        if value.is_nan() {
            return Float8E8M0(Self::NAN);
        }
        let out_of_range = |nearest: u8| Float8E8M0(if saturate { nearest } else { Self::NAN });
        let bits = value.abs().to_bits();
        let (exponent, fraction) = (bits >> 23, bits & 0x7f_ffff);
        if exponent == 255 {
            return out_of_range(Self::MAX);
        }
        if exponent == 0 {
            // Between 0 and 2⁻¹²⁶: half way up is 2⁻¹²⁷ itself, of encoding 0.
            let up = match rounding {
                PowerRounding::Up => fraction > 1 << 22,
                PowerRounding::Down => false,
                PowerRounding::Nearest => fraction >= 3 << 21,
            };
            return match fraction {
                _ if up => Float8E8M0(1),
                _ if fraction < 1 << 22 => out_of_range(0),
                _ => Float8E8M0(0),
            };
        }
        let up = match rounding {
            PowerRounding::Up => fraction > 0,
            PowerRounding::Down => false,
            PowerRounding::Nearest => fraction >= 1 << 22,
        };
        let exponent = exponent + u32::from(up);
        if exponent == 255 { out_of_range(Self::MAX) } else { Float8E8M0(exponent as u8) }
    }

    /// The encoding.
    pub fn to_bits(self) -> u8 {
        self.0
    }

    /// The value of an encoding.
    pub fn from_bits(bits: u8) -> Self {
        Float8E8M0(bits)
    }
}
shown!(Float8E8M0);

#[cfg(test)]
mod tests {
    use super::*;

    // Expectations of these tests: ml_dtypes 0.5.4, and the tables of Cast.
    const ODD: [f32; 14] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e6,
        -1e6,
        5.0,
        449.0,
        464.0,
        465.0,
        61440.0,
        61439.0,
        1e-10,
        -1e-10,
        0.75,
    ];

    #[test]
    fn out_of_range_without_saturation() {
        let bits = ODD.map(|v| Float8E4M3FN::from_f32(v, false).to_bits());
        assert_eq!(bits, [127, 127, 255, 127, 255, 74, 126, 126, 127, 127, 127, 0, 128, 52]);
        let bits = ODD.map(|v| Float8E4M3FNUZ::from_f32(v, false).to_bits());
        assert_eq!(bits, [128, 128, 128, 128, 128, 82, 128, 128, 128, 128, 128, 0, 0, 60]);
        let bits = ODD.map(|v| Float8E5M2::from_f32(v, false).to_bits());
        assert_eq!(bits, [126, 124, 252, 124, 252, 69, 95, 95, 95, 124, 123, 0, 128, 58]);
        let bits = ODD.map(|v| Float8E5M2FNUZ::from_f32(v, false).to_bits());
        assert_eq!(bits, [128, 128, 128, 128, 128, 73, 99, 99, 99, 128, 127, 0, 0, 62]);
    }

    #[test]
    fn out_of_range_with_saturation() {
        let saturated = [f32::INFINITY, -1e6].map(|v| Float8E4M3FN::from_f32(v, true).to_f32());
        assert_eq!(saturated, [448.0, -448.0]);
        let saturated = [f32::INFINITY, -1e6].map(|v| Float8E4M3FNUZ::from_f32(v, true).to_f32());
        assert_eq!(saturated, [240.0, -240.0]);
        let saturated = [f32::INFINITY, -1e6].map(|v| Float8E5M2::from_f32(v, true).to_f32());
        assert_eq!(saturated, [57344.0, -57344.0]);
        assert!(Float8E5M2::from_f32(f32::NAN, true).to_f32().is_nan());
        let bits = ODD.map(|v| Float4E2M1::from_f32(v, true).to_bits());
        assert_eq!(bits, [8, 7, 15, 7, 15, 6, 7, 7, 7, 7, 7, 0, 8, 2]);
        let bits = ODD.map(|v| Float6E2M3::from_f32(v, true).to_bits());
        assert_eq!(bits, [32, 31, 63, 31, 63, 26, 31, 31, 31, 31, 31, 0, 32, 6]);
        let bits = ODD.map(|v| Float6E3M2::from_f32(v, true).to_bits());
        assert_eq!(bits, [32, 31, 63, 31, 63, 21, 31, 31, 31, 31, 31, 0, 32, 10]);
    }

    #[test]
    fn every_number_comes_back() {
        macro_rules! back {
            ($($name:ident, $count:literal;)+) => {$(
                for bits in 0..$count {
                    let value = $name::from_bits(bits as u8);
                    if !value.to_f32().is_nan() {
                        assert_eq!($name::from_f32(value.to_f32(), false), value, "{bits}");
                    }
                }
            )+};
        }
        back! {
            Float8E4M3FN, 256; Float8E4M3FNUZ, 256; Float8E5M2, 256; Float8E5M2FNUZ, 256;
            Float8E8M0, 256; Float4E2M1, 16; Float6E2M3, 64; Float6E3M2, 64;
        }
        assert_eq!(Float8E4M3FN::from_bits(1).to_f32(), 2f32.powi(-9));
        assert_eq!(Float8E5M2FNUZ::from_bits(1).to_f32(), 2f32.powi(-17));
        assert_eq!(Float4E2M1::from_bits(1).to_f32(), 0.5);
    }

    #[test]
    fn doubles_are_rounded_once() {
        // Half way between 1 and 1.125 and a little above it: through f32 it would be a tie.
        let above = 1.0625 + 2f64.powi(-40);
        assert_eq!(Float8E4M3FN::from_f64(above, true).to_f32(), 1.125);
        assert_eq!(Float8E4M3FN::from_f64(1.0625, true).to_f32(), 1.0);
        assert_eq!(Float8E4M3FN::from_f64(f64::MIN_POSITIVE / 4.0, true).to_bits(), 0);
    }

    #[test]
    fn powers_of_two_round_as_asked() {
        use PowerRounding::{Down, Nearest, Up};
        let bits =
            |v: f32, saturate, rounding| Float8E8M0::rounded(v, saturate, rounding).to_bits();
        let values = [0.0, 0.124, 0.25, 0.5, 1.1, 2.0, 4.0, 8.0];
        assert_eq!(values.map(|v| bits(v, true, Up)), [0, 124, 125, 126, 128, 128, 129, 130]);
        assert_eq!([1.1, 1.5, 1.9].map(|v| bits(v, true, Down)), [127; 3]);
        assert_eq!([1.1, 1.5, 1.9].map(|v| bits(v, true, Nearest)), [127, 128, 128]);
        assert_eq!([0.0, f32::INFINITY].map(|v| bits(v, false, Nearest)), [255, 255]);
        assert_eq!([f32::MAX, f32::INFINITY].map(|v| bits(v, true, Up)), [254, 254]);
        assert_eq!(bits(f32::NAN, true, Up), 255);
        assert_eq!(bits(f32::from_bits(1 << 22), false, Up), 0);
        assert_eq!(bits(f32::from_bits((1 << 22) + 1), false, Up), 1);
    }
}
