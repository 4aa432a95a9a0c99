#![no_main]

#[path = "../cases/operator_run.rs"]
mod operator_run;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| operator_run::run(bytes));
