//! Floats as TensorFlow Serving writes them.
//!
//! C's `%g` with six significant digits where that reads back to the same float, else with as
//! many as always do (9 or 17). Whole numbers without an exponent get `.0`, so that a list of
//! floats never looks like a list of integers.

use std::fmt::LowerExp;
use std::io::Write as _;

/// Digits that TensorFlow Serving tries first.
const FEW: usize = 6;
/// All floats of smaller decimal exponents may be subnormal: those of `f32` are.
const LEAST_EXPONENT: i32 = -37;

/// Appends a finite float. `enough` is how many digits always read back to it: 9 or 17.
pub(super) fn general(value: impl LowerExp, enough: usize, out: &mut Vec<u8>) {
    // Rust's own form has the fewest digits that read back. Where those are six or fewer they are
    // also what rounding to six gives, but for floats so small that they have less precision.
    let mut text = Text::default();
    let _ = write!(text, "{value:e}");
    let few = text.split().filter(|(_, digits, _)| digits.len() <= FEW);
    let precision = if few.is_some() { FEW } else { enough };
    if few.is_none_or(|(_, _, exponent)| exponent < LEAST_EXPONENT) {
        text = Text::default();
        let _ = write!(text, "{value:.*e}", precision - 1);
    }
    layout(&text, precision, out);
}

/// A short text on the stack.
struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Text { bytes: [0; 40], len: 0 }
    }
}

impl std::io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        let n = bytes.len().min(rest.len());
        for (to, from) in rest.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.len += n;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Text {
    /// `-1.25e-7` as its sign, its digits without trailing zeros, and its exponent.
    fn split(&self) -> Option<(bool, Digits, i32)> {
        let text = std::str::from_utf8(self.bytes.get(..self.len)?).ok()?;
        let (mantissa, exponent) = text.split_once('e')?;
        let mut digits = Digits::default();
        mantissa.bytes().filter(u8::is_ascii_digit).for_each(|b| digits.push(b));
        digits.trim();
        Some((mantissa.starts_with('-'), digits, exponent.parse().ok()?))
    }
}

#[derive(Default)]
struct Digits {
    bytes: [u8; 20],
    len: usize,
}

impl Digits {
    fn push(&mut self, byte: u8) {
        if let Some(to) = self.bytes.get_mut(self.len) {
            *to = byte;
            self.len += 1;
        }
    }

    fn trim(&mut self) {
        while self.len > 1 && self.bytes.get(self.len - 1) == Some(&b'0') {
            self.len -= 1;
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(range.start.min(self.len)..range.end.min(self.len)).unwrap_or_default()
    }
}

/// `%g`: with an exponent below 1e-4 and from 10^precision on, plain in between.
fn layout(text: &Text, precision: usize, out: &mut Vec<u8>) {
    let Some((negative, digits, exponent)) = text.split() else { return };
    if negative {
        out.push(b'-');
    }
    let fraction = |out: &mut Vec<u8>, from: usize| {
        if digits.len() > from {
            out.push(b'.');
            out.extend_from_slice(digits.get(from..digits.len()));
        }
    };
    let whole = usize::try_from(exponent).ok().filter(|e| *e < precision);
    match whole {
        Some(exponent) => {
            let before = exponent + 1;
            out.extend_from_slice(digits.get(0..before));
            out.resize(out.len() + before.saturating_sub(digits.len()), b'0');
            fraction(out, before);
            if digits.len() <= before {
                out.extend_from_slice(b".0");
            }
        }
        None if (-4..0).contains(&exponent) => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (exponent.unsigned_abs() as usize - 1), b'0');
            out.extend_from_slice(digits.get(0..digits.len()));
        }
        None => {
            out.extend_from_slice(digits.get(0..1));
            fraction(out, 1);
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            let _ = write!(out, "{:02}", exponent.unsigned_abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(x: f32) -> String {
        let mut out = Vec::new();
        general(x, 9, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn double(x: f64) -> String {
        let mut out = Vec::new();
        general(x, 17, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The expected texts are those of C's printf.
    #[test]
    fn floats_are_written_as_printf_does() {
        for (x, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.2, "0.2"),
            (100.0, "100.0"),
            (123456.0, "123456.0"),
            (1234567.0, "1234567.0"),
            (9000000.0, "9e+06"),
            (0.0001, "0.0001"),
            (0.00003, "3e-05"),
            (0.1234567, "0.123456702"),
            (1.0 / 3.0, "0.333333343"),
            (16777216.0, "16777216.0"),
            (f32::MAX, "3.40282347e+38"),
            (f32::MIN_POSITIVE, "1.17549435e-38"),
            (1e10, "1e+10"),
            (1e-45, "1.4013e-45"),
            (-1e-40, "-9.99995e-41"),
        ] {
            assert_eq!(float(x), text);
        }
        for (x, text) in [
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333331"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e22, "1e+22"),
            (123456789.0, "123456789.0"),
            (1e-5, "1e-05"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-1e100, "-1e+100"),
            (1e-100, "1e-100"),
            (5e-324, "4.94066e-324"),
        ] {
            assert_eq!(double(x), text);
        }
    }

    #[test]
    fn every_float_reads_back() {
        let mut bits = 1u64;
        for _ in 0..20_000 {
            // A step of Knuth's generator.
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (x, y) = (f32::from_bits((bits >> 32) as u32), f64::from_bits(bits));
            if x.is_finite() {
                assert_eq!(float(x).parse::<f32>().unwrap().to_bits(), x.to_bits(), "{x:e}");
            }
            if y.is_finite() {
                assert_eq!(double(y).parse::<f64>().unwrap().to_bits(), y.to_bits(), "{y:e}");
            }
        }
    }
}
