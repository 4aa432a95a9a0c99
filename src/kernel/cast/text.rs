//! Numbers as text and back.

use super::number::{Source, Target};
use crate::error::{Result, err};
use crate::tensor::{Data, ElementType};

/// A number as text, the way `printf("%.8g")` writes it: what ONNX Runtime gives.
fn format_float(v: f64) -> String {
    const DIGITS: i32 = 8;
    if v.is_nan() {
        return "NaN".to_string();
    }
    if v.is_infinite() {
        return if v < 0.0 { "-INF" } else { "INF" }.to_string();
    }
    let scientific = format!("{:.*e}", DIGITS as usize - 1, v);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if (-4..DIGITS).contains(&exponent) {
        trim(&format!("{:.*}", (DIGITS - 1 - exponent) as usize, v))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

pub(super) fn to_text(data: &Data) -> Vec<String> {
    fn floats<T: Source>(v: &[T]) -> Vec<String>
    where
        f64: From<T::Wide>,
    {
        v.iter().map(|x| format_float(x.widen().into())).collect()
    }
    fn plain<T: ToString>(v: &[T]) -> Vec<String> {
        v.iter().map(T::to_string).collect()
    }
    match data {
        Data::F32(v) => floats(v),
        Data::F64(v) => floats(v),
        Data::F16(v) => floats(v),
        Data::BF16(v) => floats(v),
        Data::I8(v) => plain(v),
        Data::I16(v) => plain(v),
        Data::I32(v) => plain(v),
        Data::I64(v) => plain(v),
        Data::U8(v) => plain(v),
        Data::U16(v) => plain(v),
        Data::U32(v) => plain(v),
        Data::U64(v) => plain(v),
        Data::Bool(v) => v.iter().map(|&b| u8::from(b).to_string()).collect(),
        Data::String(v) => v.clone(),
        Data::I4(v) => plain(v),
        Data::U4(v) => plain(v),
        Data::I2(v) => plain(v),
        Data::U2(v) => plain(v),
        Data::F8E4M3FN(v) => floats(v),
        Data::F8E4M3FNUZ(v) => floats(v),
        Data::F8E5M2(v) => floats(v),
        Data::F8E5M2FNUZ(v) => floats(v),
        Data::F8E8M0(v) => floats(v),
        Data::F6E2M3(v) => floats(v),
        Data::F6E3M2(v) => floats(v),
        Data::F4E2M1(v) => floats(v),
        Data::C64(v) => plain(v),
        Data::C128(v) => plain(v),
    }
}

/// A number as its text was read.
enum Number {
    F32(f32),
    F64(f64),
    I64(i64),
    U64(u64),
}

/// A number read from text: an integer in plain notation goes through integers (all 64 bits
/// count), everything else through floats.
fn read(text: &str, to: ElementType) -> Result<Number> {
    let trimmed = text.trim();
    let bad = || err!(InvalidInput, "Cast: '{text}' is no number (to {to})");
    if to == ElementType::F32 {
        return trimmed.parse().map(Number::F32).map_err(|_| bad());
    }
    if !to.is_float() {
        if let Ok(v) = trimmed.parse() {
            return Ok(Number::I64(v));
        }
        if let Ok(v) = trimmed.parse() {
            return Ok(Number::U64(v));
        }
        if to == ElementType::Bool && trimmed.eq_ignore_ascii_case("true") {
            return Ok(Number::I64(1));
        }
        if to == ElementType::Bool && trimmed.eq_ignore_ascii_case("false") {
            return Ok(Number::I64(0));
        }
    }
    trimmed.parse().map(Number::F64).map_err(|_| bad())
}

/// The numbers that `texts` say, put to `out`.
pub(super) fn parse<T: Target>(texts: &[String], out: &mut Vec<T>) -> Result<()> {
    for text in texts {
        out.push(match read(text, T::TYPE)? {
            Number::F32(v) => T::from_f32(v),
            Number::F64(v) => T::from_f64(v),
            Number::I64(v) => T::from_i64(v),
            Number::U64(v) => T::from_u64(v),
        });
    }
    Ok(())
}
