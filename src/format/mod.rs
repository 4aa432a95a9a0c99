//! Untrusted bytes to graphs: one folder a format.

pub mod booster;
mod catboost;
mod lightgbm;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "safetensors")]
pub mod safetensors;
mod xgboost;
