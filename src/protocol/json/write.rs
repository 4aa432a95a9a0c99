//! Tensors as JSON text. Floats that JSON has no form for are written as the bare tokens `NaN`,
//! `Infinity` and `-Infinity`, as TensorFlow Serving and Triton write them.

use super::{base64, number};
use crate::tensor::{
    Complex, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2,
    Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Tensor, UInt2, UInt4, for_each_type,
};
use half::{bf16, f16};
use std::io::Write as _;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Style {
    /// The shortest text that reads back.
    Plain,
    /// TensorFlow Serving's floats.
    TensorFlow,
    /// As [`Style::TensorFlow`], and strings as `{"b64": "…"}`.
    TensorFlowBytes,
}

/// An element that is written as JSON.
pub(in super::super) trait JsonWrite {
    fn write(&self, style: Style, out: &mut Vec<u8>);
}

macro_rules! floats {
    ($($rust:ty, $enough:literal);+) => {$(
        impl JsonWrite for $rust {
            fn write(&self, style: Style, out: &mut Vec<u8>) {
                if self.is_nan() {
                    out.extend_from_slice(b"NaN");
                } else if self.is_infinite() {
                    out.extend_from_slice(if *self > 0.0 { b"Infinity" } else { b"-Infinity" });
                } else if style == Style::Plain {
                    // Writing to a vector does not fail.
                    let _ = write!(out, "{self:?}");
                } else {
                    number::general(*self, $enough, out);
                }
            }
        }
    )+};
}

floats!(f32, 9; f64, 17);

macro_rules! widened {
    ($($rust:ty),+) => {$(
        impl JsonWrite for $rust {
            fn write(&self, style: Style, out: &mut Vec<u8>) {
                self.to_f32().write(style, out);
            }
        }
    )+};
}

widened!(
    f16,
    bf16,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Float8E8M0,
    Float6E2M3,
    Float6E3M2,
    Float4E2M1
);

/// A pair: the real and the imaginary part.
impl<T: JsonWrite> JsonWrite for Complex<T> {
    fn write(&self, style: Style, out: &mut Vec<u8>) {
        out.push(b'[');
        self.re.write(style, out);
        out.extend_from_slice(b", ");
        self.im.write(style, out);
        out.push(b']');
    }
}

macro_rules! displayed {
    ($($rust:ty),+) => {$(
        impl JsonWrite for $rust {
            fn write(&self, _: Style, out: &mut Vec<u8>) {
                let _ = write!(out, "{self}");
            }
        }
    )+};
}

displayed!(i8, i16, i32, i64, u8, u16, u32, u64, bool, Int4, UInt4, Int2, UInt2);

impl JsonWrite for String {
    fn write(&self, style: Style, out: &mut Vec<u8>) {
        if style == Style::TensorFlowBytes {
            out.extend_from_slice(b"{\"b64\": \"");
            base64::encode(self.as_bytes(), out);
            out.extend_from_slice(b"\"}");
        } else {
            string(self, out);
        }
    }
}

/// Appends a JSON string.
pub(in super::super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(text.as_bytes().get(from..i).unwrap_or_default());
        match escape {
            [] => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            escape => out.extend_from_slice(escape),
        }
        from = i + 1;
    }
    out.extend_from_slice(text.as_bytes().get(from..).unwrap_or_default());
    out.push(b'"');
}

/// Appends `data` as lists nested like `dims`; a bare element where there are none.
pub(in super::super) fn nested<T: JsonWrite>(
    data: &[T],
    dims: &[usize],
    style: Style,
    out: &mut Vec<u8>,
) {
    let Some((size, inner)) = dims.split_first() else {
        if let Some(element) = data.first() {
            element.write(style, out);
        }
        return;
    };
    let width: usize = inner.iter().product();
    out.push(b'[');
    for i in 0..*size {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        nested(data.get(i * width..(i + 1) * width).unwrap_or_default(), inner, style, out);
    }
    out.push(b']');
}

/// How many lists [`nested`] writes for a tensor without elements: as many as the sizes before its
/// first 0 say, which cost the tensor nothing.
pub(in super::super) fn empty_lists(dims: &[usize]) -> usize {
    let before = dims.iter().take_while(|size| **size > 0);
    match dims.contains(&0) {
        true => before.fold(1, |all, size| all.saturating_mul(*size)),
        false => 0,
    }
}

/// Appends all elements of a tensor as one flat list.
pub(in super::super) fn values(tensor: &Tensor, style: Style, out: &mut Vec<u8>) {
    for_each_type!(tensor.data(), v => nested(v, &[tensor.len()], style, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tensor: &Tensor, style: Style) -> String {
        let mut out = Vec::new();
        for_each_type!(tensor.data(), v => nested(v, tensor.dims(), style, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tensors_nest_as_their_shapes() {
        let t = Tensor::from_vec(&[2, 2], vec![1f32, 0.1, f32::NAN, -f32::INFINITY]).unwrap();
        assert_eq!(text(&t, Style::TensorFlow), "[[1.0, 0.1], [NaN, -Infinity]]");
        assert_eq!(text(&t, Style::Plain), "[[1.0, 0.1], [NaN, -Infinity]]");
        let t = Tensor::from_vec(&[1, 0], Vec::<i64>::new()).unwrap();
        assert_eq!(text(&t, Style::Plain), "[[]]");
        assert_eq!(text(&Tensor::scalar(true), Style::Plain), "true");
        let t = Tensor::scalar(half::f16::from_f32(1.5));
        assert_eq!(text(&t, Style::Plain), "1.5");
        let t = Tensor::scalar("a\"\\\u{1}ä\n".to_string());
        assert_eq!(text(&t, Style::Plain), "\"a\\\"\\\\\\u0001ä\\n\"");
        let read: String = serde_json::from_str(&text(&t, Style::Plain)).unwrap();
        assert_eq!(read, "a\"\\\u{1}ä\n");
        assert_eq!(text(&t, Style::TensorFlowBytes), "{\"b64\": \"YSJcAcOkCg==\"}");
    }

    #[test]
    fn lists_of_nothing_are_counted() {
        assert_eq!(empty_lists(&[4_000_000_000, 0]), 4_000_000_000);
        assert_eq!(empty_lists(&[3, 5, 0, 7]), 15);
        assert_eq!((empty_lists(&[0, 9]), empty_lists(&[2, 2]), empty_lists(&[])), (1, 0, 0));
    }

    #[test]
    fn plain_floats_read_back() {
        for x in [1e30f32, 1e-30, 0.1, 16_777_216.0, f32::MIN_POSITIVE] {
            let json = text(&Tensor::scalar(x), Style::Plain);
            let read: f64 = serde_json::from_str(&json).unwrap();
            assert_eq!(read as f32, x, "{json}");
        }
    }
}
