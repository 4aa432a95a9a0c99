#![no_main]

#[path = "../cases/v2_binary.rs"]
mod v2_binary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| v2_binary::run(bytes));
