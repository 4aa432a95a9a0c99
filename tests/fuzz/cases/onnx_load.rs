//! Any bytes as an ONNX file.

mod ask;

use modelserve::{Format, LoadOptions};

pub fn run(file: &[u8]) {
    let options = LoadOptions { format: Some(Format::Onnx), ..LoadOptions::default() };
    ask::ask(file, &ask::small(options));
}
