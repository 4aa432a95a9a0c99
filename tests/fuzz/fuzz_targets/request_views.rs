#![no_main]

#[path = "../cases/request_views.rs"]
mod request_views;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| request_views::run(bytes));
