//! Untrusted bytes to graphs: one folder a format.

#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "safetensors")]
pub mod safetensors;
