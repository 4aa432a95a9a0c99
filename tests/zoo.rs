//! Every model of the zoo loads, or says which operator it lacks.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use modelserve::{ErrorKind, LoadOptions, Model, load};
use std::path::Path;

#[test]
fn every_model_of_the_zoo_loads_or_names_the_operator_it_lacks() {
    let Some(zoo) = common::zoo() else { return };
    let (mut loaded, mut failures) = (0, Vec::new());
    for folder in common::zoo_models(&zoo) {
        let file = folder.join("model.onnx");
        let name = folder.file_name().unwrap().to_string_lossy();
        match load(&file, &LoadOptions::default()) {
            Ok(model) => {
                println!("{name}: {}", model.signature());
                loaded += 1;
            }
            Err(e)
                if e.kind() == ErrorKind::Unsupported && names_an_operator(e.message(), &file) =>
            {
                println!("{name}: unsupported: {e}");
            }
            Err(e) => failures.push(format!("{name}: {}: {e}", e.kind())),
        }
    }
    println!("{loaded} models load");
    assert!(failures.is_empty(), "{} models fail:\n{}", failures.len(), failures.join("\n"));
    assert!(loaded > 0, "the model zoo at {} is empty", zoo.display());
}

/// Whether the message holds an operator's name: a capitalised word that the file holds too.
fn names_an_operator(message: &str, file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap();
    message
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase()))
        .any(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes()))
}
