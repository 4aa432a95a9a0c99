//! Tensors and the other values that flow through a model.
//!
//! [`Tensor`] is a shape over a shared, typed, row-major buffer: cloning, reshaping and passing
//! one on never copies elements. [`Value`] adds ONNX's sequences, maps and optionals.

mod candle;
mod data;
mod dtype;
mod interop;
mod rows;
pub mod shape;
mod value;

pub use data::{Data, Tensor, for_each_type};
pub use dtype::{Element, ElementType};
pub use shape::Shape;
pub use value::{Map, MapKey, Value};
