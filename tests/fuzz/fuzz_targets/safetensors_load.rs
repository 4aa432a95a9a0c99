#![no_main]

#[path = "../cases/safetensors_load.rs"]
mod safetensors_load;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetensors_load::run(bytes));
