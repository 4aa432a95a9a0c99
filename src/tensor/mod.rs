//! Tensors and the other values that flow through a model.
//!
//! [`Tensor`] is a shape over a shared, typed, row-major buffer: cloning, reshaping and passing
//! one on never copies elements. [`Value`] adds ONNX's sequences, maps and optionals.

mod candle;
mod carrier;
mod complex;
mod data;
pub mod dlpack;
mod dlpack_elements;
mod dtype;
mod interop;
mod rows;
pub mod shape;
mod small;
mod small_float;
mod small_int;
pub mod spare;
mod value;

pub(crate) use carrier::{Carrier, for_each_carrier};
pub use complex::Complex;
pub(crate) use data::for_each_common_type;
pub use data::{Data, Tensor, for_each_type};
pub use dtype::{Element, ElementType};
pub use shape::Shape;
pub use small_float::{
    Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ,
    Float8E8M0, PowerRounding,
};
pub use small_int::{Int2, Int4, UInt2, UInt4};
pub use value::{Map, MapKey, Value};
