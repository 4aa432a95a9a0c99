#![no_main]

#[path = "../cases/repository.rs"]
mod repository;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| repository::run(bytes));
