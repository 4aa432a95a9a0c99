#![no_main]

#[path = "../cases/layer_config.rs"]
mod layer_config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| layer_config::run(bytes));
