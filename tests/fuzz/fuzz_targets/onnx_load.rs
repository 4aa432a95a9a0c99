//! Any bytes as an ONNX file.

#![no_main]

mod ask;

use libfuzzer_sys::fuzz_target;
use modelserve::{Format, LoadOptions};

fuzz_target!(|file: &[u8]| {
    let options = LoadOptions { format: Some(Format::Onnx), ..LoadOptions::default() };
    ask::ask(file, &ask::small(options));
});
