//! Looking at files: what is said of the test models, of boosters, and of bytes that are none.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::random::Random;
use modelserve::{ErrorKind, Format, LoadOptions, Model, inspect, inspect_bytes, load, load_bytes};
use std::path::Path;

#[test]
fn what_is_said_of_the_test_models_is_what_they_say_when_loaded() {
    for name in common::names() {
        let path = common::model_path(&name);
        let found = inspect(&path).unwrap();
        assert!(found.loadable && found.readable, "{name}: {found}");
        let model = load(&path, &LoadOptions::default()).unwrap();
        let (info, signature) = (model.info(), model.signature());
        assert_eq!(found.digest, *info.digest, "{name}");
        assert_eq!(found.format, Some(info.format), "{name}");
        assert_eq!(found.memory.unwrap().bytes, info.weight_bytes, "{name}");
        let meaning = found.meaning.as_ref().unwrap();
        assert_eq!(meaning.classes.as_ref(), signature.classes.as_deref(), "{name}");
        assert_eq!(meaning.feature_names, signature.feature_names, "{name}");
        let inputs: Vec<&str> = found.inputs.iter().map(|one| one.name.as_str()).collect();
        let expected: Vec<&str> = signature.inputs.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(inputs, expected, "{name}");
        assert!(found.operators.iter().all(|one| one.supported), "{name}: {found}");
        assert!(serde_json::from_str::<serde_json::Value>(&found.to_json().unwrap()).is_ok());
    }
}

#[test]
fn the_layers_of_a_safetensors_file_are_told() {
    let found = inspect(common::model_path("digits_mlp_safetensors")).unwrap();
    let description = found.description.as_ref().unwrap();
    assert!(description.found && description.bytes > 0);
    assert_eq!(description.entries["format"], "modelserve-layers");
    assert!(description.layers.iter().any(|layer| layer == "linear"), "{found}");
    assert_eq!(found.weights[0].dtype, "float32");
    assert_eq!(found.tensor_count as usize, found.tensors.len());
}

#[test]
fn boosters_are_told_by_their_trees() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/booster_load");
    for (file, format) in [
        ("trees.txt", Format::LightGbm),
        ("trees.ubj", Format::XgBoost),
        ("trees_catboost.json", Format::CatBoost),
    ] {
        let found = inspect(seeds.join(file)).unwrap();
        assert_eq!(found.format, Some(format), "{found}");
        assert!(found.loadable, "{found}");
        let [booster] = found.boosters.as_slice() else { panic!("{found}") };
        assert_eq!(booster.learner, "trees");
        assert!(booster.trees > 0 && booster.leaves >= booster.trees && booster.features > 0);
        assert!(booster.nodes >= 2 * booster.leaves - booster.trees, "{found}");
        assert!(booster.objective.is_some(), "{found}");
    }
    let linear = inspect(seeds.join("linear.json")).unwrap();
    assert_eq!(linear.boosters[0].learner, "linear", "{linear}");
}

#[test]
fn files_that_are_no_models_are_told_as_such() {
    let none = inspect("/nowhere/model.onnx").unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let folder = std::env::temp_dir().join(format!("inspect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pickle = folder.join("model.pkl");
    std::fs::write(&pickle, b"\x80\x04.").unwrap();
    let found = inspect(&pickle).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((found.format, found.readable, found.loadable), (None, false, false));
    assert_eq!(found.problems[0].kind, ErrorKind::Unsupported);
    assert!(found.to_string().contains("holds code"), "{found}");
}

/// What loads has no problems, and what does not has some; nothing is a defect.
#[test]
fn flipped_files_are_told_as_loading_tells_them() {
    let mut random = Random::new(7);
    for (name, format) in [
        ("logistic", Format::Onnx),
        ("gradient_boosting", Format::Onnx),
        ("digits_mlp_safetensors", Format::Safetensors),
    ] {
        let file = std::fs::read(common::model_path(name)).unwrap();
        let mut options = LoadOptions { format: Some(format), ..LoadOptions::default() };
        if format == Format::Safetensors {
            let config = common::data().join(name).join("config.json");
            options.config = Some(std::fs::read_to_string(config).unwrap());
        }
        options.limits.weight_bytes = 256 << 20;
        for _ in 0..300 {
            let mut bytes = file.clone();
            // The beginning and the end of a file hold more structure than its middle.
            let bit = match random.below(2) {
                0 => random.below(file.len().min(600) * 8),
                _ => random.below(file.len() * 8),
            };
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = inspect_bytes(bytes.clone(), &options).unwrap();
            let internal = found.problems.iter().find(|p| p.kind == ErrorKind::Internal);
            assert!(internal.is_none(), "{name}, bit {bit}: {found}");
            let loaded = load_bytes(bytes, &options);
            // An answer to a row of zeros may show what looking does not.
            assert!(found.loadable || loaded.is_err(), "{name}, bit {bit}: {found}");
            found.to_json().unwrap();
        }
    }
}
