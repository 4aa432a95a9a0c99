//! Any bytes as a safetensors file, under each of a few layer descriptions.

mod ask;

use modelserve::{Format, LoadOptions};

/// What stands between the brackets of `layers`, with the input's type and shape.
const DESCRIPTIONS: &[(&str, &str, &str)] = &[
    ("float32", "4", r#"{"type":"linear","name":"fc1","in":4,"out":3},{"type":"softmax"}"#),
    ("int64", "2", r#"{"type":"embedding","name":"e","num":5,"dim":2},{"type":"flatten"}"#),
    (
        "float32",
        "1,4,4",
        r#"{"type":"conv2d","name":"c","in":1,"out":2,"kernel":3},{"type":"group_norm","name":"n","groups":1,"size":2}"#,
    ),
    (
        "float32",
        "4",
        r#"{"type":"batch_norm","name":"b","size":4},{"type":"layer_norm","name":"n","size":4}"#,
    ),
];

pub fn run(file: &[u8]) {
    for (dtype, shape, layers) in DESCRIPTIONS {
        let config = format!(
            r#"{{"format":"modelserve-layers","version":1,"ignore_unused":true,"inputs":[{{"name":"x","dtype":"{dtype}","shape":["batch",{shape}]}}],"layers":[{layers}]}}"#
        );
        let options = LoadOptions {
            format: Some(Format::Safetensors),
            config: Some(config),
            ..LoadOptions::default()
        };
        ask::ask(file, &ask::small(options));
    }
}
