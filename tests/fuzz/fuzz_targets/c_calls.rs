#![no_main]

#[path = "../cases/c_calls.rs"]
mod c_calls;

// The functions that it declares are there.
use modelserve_c as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| c_calls::run(bytes));
