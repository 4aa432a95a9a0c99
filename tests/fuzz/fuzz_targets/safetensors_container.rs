#![no_main]

#[path = "../cases/safetensors_container.rs"]
mod safetensors_container;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetensors_container::run(bytes));
