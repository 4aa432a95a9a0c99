#![no_main]

#[path = "../cases/http.rs"]
mod http;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http::run(bytes));
