#![no_main]

#[path = "../cases/booster_load.rs"]
mod booster_load;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| booster_load::run(bytes));
