//! Element types, and the Rust types that carry them.

use half::{bf16, f16};
use std::fmt;

/// The element type of a tensor, in ONNX's terms.
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
}

impl ElementType {
    /// Bytes of one element in memory; for strings the size of the owning handle.
    pub fn size(self) -> usize {
        match self {
            ElementType::F64 | ElementType::I64 | ElementType::U64 => 8,
            ElementType::F32 | ElementType::I32 | ElementType::U32 => 4,
            ElementType::F16 | ElementType::BF16 | ElementType::I16 | ElementType::U16 => 2,
            ElementType::I8 | ElementType::U8 | ElementType::Bool => 1,
            ElementType::String => std::mem::size_of::<String>(),
        }
    }

    /// NumPy's name of the type (`float32`, `int64`, `bool`, `str`, …).
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
        }
    }

    /// The element type of a number of ONNX's `TensorProto.DataType`.
    ///
    /// # Errors
    /// ONNX's name of a type that this crate has not; `None` for a number that is no type.
    pub(crate) fn from_onnx(number: i64) -> Result<ElementType, Option<&'static str>> {
        Ok(match number {
            1 => ElementType::F32,
            2 => ElementType::U8,
            3 => ElementType::I8,
            4 => ElementType::U16,
            5 => ElementType::I16,
            6 => ElementType::I32,
            7 => ElementType::I64,
            8 => ElementType::String,
            9 => ElementType::Bool,
            10 => ElementType::F16,
            11 => ElementType::F64,
            12 => ElementType::U32,
            13 => ElementType::U64,
            16 => ElementType::BF16,
            14 => return Err(Some("complex64")),
            15 => return Err(Some("complex128")),
            17 => return Err(Some("float8e4m3fn")),
            18 => return Err(Some("float8e4m3fnuz")),
            19 => return Err(Some("float8e5m2")),
            20 => return Err(Some("float8e5m2fnuz")),
            21 => return Err(Some("uint4")),
            22 => return Err(Some("int4")),
            23 => return Err(Some("float4e2m1")),
            24 => return Err(Some("float8e8m0")),
            25 => return Err(Some("uint2")),
            26 => return Err(Some("int2")),
            27 => return Err(Some("float6e2m3")),
            28 => return Err(Some("float6e3m2")),
            _ => return Err(None),
        })
    }

    /// Whether this is one of the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F64 | ElementType::F16 | ElementType::BF16)
    }

    /// Whether this is one of the integer types (bool is none).
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, ElementType::Bool | ElementType::String)
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
);
