//! One element of a tensor from one JSON value.

use super::super::fault::{Dialect, Fault, Outcome, tensorflow_name};
use super::base64;
use super::read::{Kind, Reader};
use crate::error::ErrorKind;
use crate::tensor::{
    Complex, Element, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN,
    Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, UInt2, UInt4,
};
use half::{bf16, f16};
use jiter::Peek;

/// An element type that JSON values become.
pub(in super::super) trait JsonElement: Element {
    /// Reads the value that begins with `peek`.
    ///
    /// # Errors
    /// A fault in the reader's dialect for a value of another type, or one that does not fit.
    fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<Self>;
}

fn wrong<T>(reader: &Reader<'_>, peek: Peek, dtype: ElementType) -> Outcome<T> {
    // What is no value at all is a syntax error.
    reader.kind(peek)?;
    let quoted = reader.quote(peek);
    Err(reader.dialect.wrong_type(&quoted, Reader::type_name(peek), dtype))
}

fn float(reader: &mut Reader<'_>, peek: Peek, dtype: ElementType) -> Outcome<f64> {
    match reader.kind(peek)? {
        Kind::Number => reader.float(peek),
        _ => wrong(reader, peek, dtype),
    }
}

impl JsonElement for f32 {
    fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<f32> {
        // By way of the double, as TensorFlow Serving rounds; beyond the range it is infinite.
        Ok(float(reader, peek, ElementType::F32)? as f32)
    }
}

impl JsonElement for f64 {
    fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<f64> {
        float(reader, peek, ElementType::F64)
    }
}

macro_rules! integers {
    ($($rust:ty),+) => {$(
        impl JsonElement for $rust {
            fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<$rust> {
                if reader.kind(peek)? == Kind::Number {
                    let mut ahead = reader.fork();
                    let text = ahead.number(peek)?;
                    // "-0" is an integer, which Rust's unsigned types do not parse.
                    let value = if text == "-0" { Ok(0) } else { text.parse::<$rust>() };
                    if let Ok(value) = value {
                        reader.number(peek)?;
                        return Ok(value);
                    }
                }
                wrong(reader, peek, <$rust as Element>::TYPE)
            }
        }
    )+};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

impl JsonElement for bool {
    fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<bool> {
        match reader.kind(peek)? {
            Kind::Bool => reader.bool(peek),
            _ => wrong(reader, peek, ElementType::Bool),
        }
    }
}

impl JsonElement for String {
    fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<String> {
        match reader.kind(peek)? {
            Kind::String => reader.text(str::to_string),
            Kind::Object if reader.dialect == Dialect::TensorFlow => {
                let quoted = |reader: &Reader<'_>| reader.quote(peek);
                match reader.base64_object()? {
                    Some(text) => text_of(&text),
                    None => Err(Fault::bad(format!(
                        "JSON Value: {} not formatted correctly for base64 data",
                        quoted(reader)
                    ))),
                }
            }
            _ => wrong(reader, peek, ElementType::String),
        }
    }
}

/// The text of bytes in base64.
pub(super) fn text_of(encoded: &str) -> Outcome<String> {
    let bytes = base64::decode(encoded).ok_or_else(|| Fault::bad("Unable to base64 decode"))?;
    String::from_utf8(bytes).map_err(|_| {
        Fault::bad("Unable to base64 decode to text: the models' strings hold UTF-8 only")
    })
}

macro_rules! binary_only {
    ($($rust:ty),+) => {$(
        impl JsonElement for $rust {
            fn read(reader: &mut Reader<'_>, peek: Peek) -> Outcome<$rust> {
                reader.kind(peek)?;
                let dtype = <$rust as Element>::TYPE;
                let why = match reader.dialect {
                    Dialect::TensorFlow => format!(
                        "Conversion of JSON Value: {} to type: {}",
                        reader.quote(peek),
                        tensorflow_name(dtype)
                    ),
                    Dialect::Reference | Dialect::V2 => format!(
                        "sending {dtype} data via JSON is not supported; please use the binary \
                         data format"
                    ),
                };
                let kind = match reader.dialect {
                    Dialect::TensorFlow => ErrorKind::Unsupported,
                    Dialect::Reference | Dialect::V2 => ErrorKind::InvalidInput,
                };
                Err(Fault::own(kind, why))
            }
        }
    )+};
}

binary_only!(
    f16,
    bf16,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Float8E8M0,
    Float6E2M3,
    Float6E3M2,
    Float4E2M1,
    Int4,
    UInt4,
    Int2,
    UInt2,
    Complex<f32>,
    Complex<f64>
);

impl Reader<'_> {
    /// The string of an object `{"b64": "…"}`, which is passed; `None`, with nothing passed, for
    /// any other object.
    pub(in super::super) fn base64_object(&mut self) -> Outcome<Option<String>> {
        let mut ahead = self.fork();
        if ahead.object(|key| key == "b64")? != Some(true) {
            return Ok(None);
        }
        let peek = ahead.peek()?;
        if ahead.kind(peek)? != Kind::String {
            return Ok(None);
        }
        let text = ahead.text(str::to_string)?;
        if ahead.key(|_| ())?.is_some() {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(text))
    }
}
