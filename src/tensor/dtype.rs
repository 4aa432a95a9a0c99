//! Element types, and the Rust types that carry them.

use super::{
    Complex, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2,
    Float8E5M2FNUZ, Float8E8M0, Int2, Int4, UInt2, UInt4,
};
use half::{bf16, f16};
use std::fmt;

/// The element type of a tensor, in ONNX's terms. Types of fewer than eight bits have one element
/// a byte in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it all
pub enum ElementType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    String,
    I4,
    U4,
    I2,
    U2,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F6E2M3,
    F6E3M2,
    F4E2M1,
    C64,
    C128,
}

impl ElementType {
    /// Every type.
    pub const ALL: [ElementType; 28] = {
        use ElementType::*;
        [
            F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, String, I4, U4, I2,
            U2, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F6E2M3, F6E3M2, F4E2M1, C64,
            C128,
        ]
    };

    /// The type of that [`ElementType::name`].
    pub fn from_name(name: &str) -> Option<ElementType> {
        ElementType::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Bytes of one element in memory; for strings the size of the owning handle.
    pub fn size(self) -> usize {
        match self {
            ElementType::C128 => 16,
            ElementType::F64 | ElementType::I64 | ElementType::U64 | ElementType::C64 => 8,
            ElementType::F32 | ElementType::I32 | ElementType::U32 => 4,
            ElementType::F16 | ElementType::BF16 | ElementType::I16 | ElementType::U16 => 2,
            ElementType::String => std::mem::size_of::<String>(),
            _ => 1,
        }
    }

    /// Bits of one element in a file; 0 for strings.
    pub(crate) fn file_bits(self) -> usize {
        match self {
            ElementType::I2 | ElementType::U2 => 2,
            ElementType::I4 | ElementType::U4 | ElementType::F4E2M1 => 4,
            ElementType::F6E2M3 | ElementType::F6E3M2 => 6,
            ElementType::String => 0,
            other => other.size() * 8,
        }
    }

    /// NumPy's name of the type (`float32`, `int64`, `bool`, `str`, …), or that of the package
    /// `ml_dtypes` for those that NumPy has not (`bfloat16`, `int4`, `float8_e4m3fn`, …).
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "float32",
            ElementType::F64 => "float64",
            ElementType::F16 => "float16",
            ElementType::BF16 => "bfloat16",
            ElementType::I8 => "int8",
            ElementType::I16 => "int16",
            ElementType::I32 => "int32",
            ElementType::I64 => "int64",
            ElementType::U8 => "uint8",
            ElementType::U16 => "uint16",
            ElementType::U32 => "uint32",
            ElementType::U64 => "uint64",
            ElementType::Bool => "bool",
            ElementType::String => "str",
            ElementType::I4 => "int4",
            ElementType::U4 => "uint4",
            ElementType::I2 => "int2",
            ElementType::U2 => "uint2",
            ElementType::F8E4M3FN => "float8_e4m3fn",
            ElementType::F8E4M3FNUZ => "float8_e4m3fnuz",
            ElementType::F8E5M2 => "float8_e5m2",
            ElementType::F8E5M2FNUZ => "float8_e5m2fnuz",
            ElementType::F8E8M0 => "float8_e8m0fnu",
            ElementType::F6E2M3 => "float6_e2m3fn",
            ElementType::F6E3M2 => "float6_e3m2fn",
            ElementType::F4E2M1 => "float4_e2m1fn",
            ElementType::C64 => "complex64",
            ElementType::C128 => "complex128",
        }
    }

    /// The type's number in ONNX's `TensorProto.DataType`.
    pub fn onnx_number(self) -> i32 {
        match self {
            ElementType::F32 => 1,
            ElementType::U8 => 2,
            ElementType::I8 => 3,
            ElementType::U16 => 4,
            ElementType::I16 => 5,
            ElementType::I32 => 6,
            ElementType::I64 => 7,
            ElementType::String => 8,
            ElementType::Bool => 9,
            ElementType::F16 => 10,
            ElementType::F64 => 11,
            ElementType::U32 => 12,
            ElementType::U64 => 13,
            ElementType::C64 => 14,
            ElementType::C128 => 15,
            ElementType::BF16 => 16,
            ElementType::F8E4M3FN => 17,
            ElementType::F8E4M3FNUZ => 18,
            ElementType::F8E5M2 => 19,
            ElementType::F8E5M2FNUZ => 20,
            ElementType::U4 => 21,
            ElementType::I4 => 22,
            ElementType::F4E2M1 => 23,
            ElementType::F8E8M0 => 24,
            ElementType::U2 => 25,
            ElementType::I2 => 26,
            ElementType::F6E2M3 => 27,
            ElementType::F6E3M2 => 28,
        }
    }

    /// The element type of a number of ONNX's `TensorProto.DataType`, `None` for a number that is
    /// no type.
    pub(crate) fn from_onnx(number: i64) -> Option<ElementType> {
        ElementType::ALL.into_iter().find(|t| i64::from(t.onnx_number()) == number)
    }

    /// Whether this is one of the floating-point types that are computed with: of 16, 32 or 64
    /// bits.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F64 | ElementType::F16 | ElementType::BF16)
    }

    /// Whether this is one of the integer types that are computed with: of 8 to 64 bits (bool is
    /// none).
    pub fn is_integer(self) -> bool {
        use ElementType::{I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that a tensor can hold. Sealed: one implementation per [`ElementType`].
pub trait Element:
    Clone + Default + PartialEq + fmt::Debug + Send + Sync + 'static + sealed::Sealed
{
    /// The element type of `Self`.
    const TYPE: ElementType;
    #[doc(hidden)]
    fn wrap(data: Vec<Self>) -> super::Data;
    #[doc(hidden)]
    fn slice(data: &super::Data) -> Option<&[Self]>;
    #[doc(hidden)]
    fn slice_mut(data: &mut super::Data) -> Option<&mut Vec<Self>>;
    #[doc(hidden)]
    fn unwrap(data: super::Data) -> Result<Vec<Self>, super::Data>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($rust:ty => $variant:ident),+ $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const TYPE: ElementType = ElementType::$variant;
            fn wrap(data: Vec<Self>) -> super::Data { super::Data::$variant(data) }
            fn slice(data: &super::Data) -> Option<&[Self]> {
                match data { super::Data::$variant(v) => Some(v), _ => None }
            }
            fn slice_mut(data: &mut super::Data) -> Option<&mut Vec<Self>> {
                match data { super::Data::$variant(v) => Some(v), _ => None }
            }
            fn unwrap(data: super::Data) -> Result<Vec<Self>, super::Data> {
                match data { super::Data::$variant(v) => Ok(v), other => Err(other) }
            }
        }
    )+};
}

element!(
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    bool => Bool, String => String,
    Int4 => I4,
    UInt4 => U4,
    Int2 => I2,
    UInt2 => U2,
    Float8E4M3FN => F8E4M3FN,
    Float8E4M3FNUZ => F8E4M3FNUZ,
    Float8E5M2 => F8E5M2,
    Float8E5M2FNUZ => F8E5M2FNUZ,
    Float8E8M0 => F8E8M0,
    Float6E2M3 => F6E2M3,
    Float6E3M2 => F6E3M2,
    Float4E2M1 => F4E2M1,
    Complex<f32> => C64, Complex<f64> => C128,
);
