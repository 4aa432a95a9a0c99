#![no_main]

#[path = "../cases/onnx_load.rs"]
mod onnx_load;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| onnx_load::run(bytes));
