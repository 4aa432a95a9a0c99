//! The manager: names, versions, swaps, pins, counters, and errors that say what is wrong.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use common::onnx::{Float, Node, Weight};
use modelserve::tensor::{Tensor, Value};
use modelserve::{
    Answer, Answers, Classes, Error, ErrorKind, Features, LoadOptions, Model, ModelManager,
    OutputKind, ReloadOptions, Task, load, load_bytes,
};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

fn path(name: &str) -> std::path::PathBuf {
    common::model_path(name)
}

/// A manager that serves `iris_v1` as `iris`.
fn iris() -> ModelManager {
    let manager = ModelManager::default();
    manager.load("iris", path("iris_v1"), &LoadOptions::default()).unwrap();
    manager
}

/// Checks an error's kind, and that it names `model` and says all of `parts`.
fn says(error: &Error, kind: ErrorKind, model: Option<&str>, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.model(), model, "{error}");
    let text = error.to_string();
    for part in model.iter().chain(parts) {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
}

fn column(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[values.len()], values.to_vec()).unwrap()
}

/// `y = a + 2 b`, each a column of one value.
fn two_inputs() -> Vec<u8> {
    common::onnx::model(
        &[Node("Mul", &["b", "two"], &["b2"]), Node("Add", &["a", "b2"], &["y"])],
        &[Weight("two", &[1], &[2.0])],
        &[Float("a", &[None, Some(1)]), Float("b", &[None, Some(1)])],
        &[Float("y", &[None, Some(1)])],
    )
}

/// `y = 1 · x` for three values a row.
fn passes_on() -> Vec<u8> {
    common::onnx::model(
        &[Node("Mul", &["x", "one"], &["y"])],
        &[Weight("one", &[1], &[1.0])],
        &[Float("x", &[None, Some(3)])],
        &[Float("y", &[None, Some(3)])],
    )
}

#[test]
fn models_are_loaded_listed_and_unloaded_by_name() {
    let manager = iris();
    manager.load("Wine.v-2_x", path("mlp"), &LoadOptions::default()).unwrap();
    assert_eq!(manager.models(), ["Wine.v-2_x", "iris"]);

    let error = manager.load("iris", path("iris_v2"), &LoadOptions::default()).err().unwrap();
    says(&error, ErrorKind::AlreadyExists, Some("iris"), &[]);
    let error = manager.model("other").err().unwrap();
    says(&error, ErrorKind::NotFound, Some("other"), &[]);

    let handle = manager.model("iris").unwrap();
    assert_eq!(handle.name(), "iris");
    assert!(!handle.is_pinned());
    manager.unload("iris").unwrap();
    assert_eq!(manager.models(), ["Wine.v-2_x"]);
    let row = [5.1f32, 3.5, 1.4, 0.2];
    says(&handle.predict_row(&row).unwrap_err(), ErrorKind::NotFound, Some("iris"), &[]);
    says(&manager.unload("iris").unwrap_err(), ErrorKind::NotFound, Some("iris"), &[]);
    let all = ReloadOptions::default();
    says(&manager.reload("iris", None, &all).unwrap_err(), ErrorKind::NotFound, Some("iris"), &[]);

    manager.load("iris", path("iris_v2"), &LoadOptions::default()).unwrap();
    assert!(manager.predict_row("iris", &row).is_ok(), "the name is free again");
}

#[test]
fn names_are_checked() {
    let manager = ModelManager::default();
    let long = "n".repeat(128);
    for good in ["a", "9", "A-Z_a.z", long.as_str()] {
        manager.load(good, path("iris_v1"), &LoadOptions::default()).unwrap();
    }
    let longer = "n".repeat(129);
    for bad in ["", ".hidden", "a b", "a/b", "é", "a\0", "a\n", "a:b", longer.as_str()] {
        let error = manager.load(bad, path("iris_v1"), &LoadOptions::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}: {error}");
    }
    assert_eq!(manager.models().len(), 4);
}

#[test]
fn versions_are_counted_up_or_given() {
    let manager = iris();
    let version = || manager.info("iris").unwrap().version;
    assert_eq!(version(), 1);
    let plain = ReloadOptions::default();
    assert_eq!(manager.reload("iris", None, &plain).unwrap().version, 2);
    let number = |version| ReloadOptions {
        load: Some(LoadOptions { version: Some(version), ..LoadOptions::default() }),
        ..ReloadOptions::default()
    };
    assert_eq!(manager.reload("iris", None, &number(70)).unwrap().version, 70);
    let bytes = std::fs::read(path("iris_v2")).unwrap();
    assert_eq!(manager.reload_bytes("iris", bytes, &plain).unwrap().version, 71);
    assert_eq!(version(), 71);
    let got = manager.predict_row("iris", &[5.1, 3.5, 1.4, 0.2]).unwrap();
    assert_eq!(got.model_version, 71);

    for bad in [0, u64::MAX, 1 << 63] {
        let error = manager.reload("iris", None, &number(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}: {error}");
    }
    assert_eq!(version(), 71);
    let given = LoadOptions { version: Some(12), ..LoadOptions::default() };
    assert_eq!(manager.load("b", path("mlp"), &given).unwrap().version().unwrap(), 12);
}

#[test]
fn a_reload_answers_with_the_new_model_and_a_bad_one_changes_nothing() {
    let manager = iris();
    let handle = manager.model("iris").unwrap();
    let rows = Expected::of("iris_v1");
    let labels = |name: &str| Expected::of(name).labels().unwrap();
    let answer = |i: usize| match handle.predict_row(rows.row(i)).unwrap().answer {
        Answer::Int(label) => label.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(0), labels("iris_v1")[0]);

    let plain = ReloadOptions::default();
    let missing = common::data().join("nothing.onnx");
    let error = manager.reload("iris", Some(&missing), &plain).unwrap_err();
    says(&error, ErrorKind::NotFound, Some("iris"), &["nothing.onnx"]);
    let error = manager.reload_bytes("iris", vec![0xFFu8; 100], &plain).unwrap_err();
    assert_eq!(error.model(), Some("iris"), "{error}");
    assert_eq!((answer(0), handle.version().unwrap()), (labels("iris_v1")[0].clone(), 1));

    manager.reload("iris", Some(&path("iris_v2")), &plain).unwrap();
    for (i, want) in labels("iris_v2").iter().enumerate() {
        assert_eq!(answer(i), *want);
    }
}

#[test]
fn a_loaded_model_needs_its_file_no_more() {
    let file = common::scratch("file_after_load").join("model.onnx");
    let good = std::fs::read(path("iris_v1")).unwrap();
    let rows = Expected::of("iris_v1");
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("overwritten", |file| std::fs::write(file, b"something else").unwrap()),
        ("cut", |file| {
            std::fs::File::options().write(true).open(file).unwrap().set_len(3).unwrap()
        }),
        ("renamed", |file| std::fs::rename(file, file.with_extension("old")).unwrap()),
        ("removed", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (what, change) in changes {
        std::fs::write(&file, &good).unwrap();
        let manager = ModelManager::default();
        manager.load("m", &file, &LoadOptions::default()).unwrap();
        let before = manager.predict_batch("m", rows.features()).unwrap();
        change(&file);
        let after = || manager.predict_batch("m", rows.features()).unwrap();
        assert_eq!(after().answers, before.answers, "{what}");
        assert!(manager.reload("m", None, &ReloadOptions::default()).is_err(), "{what}");
        let after = after();
        assert_eq!((after.model_version, after.answers), (1, before.answers), "{what}");
    }
}

#[test]
fn a_changed_signature_is_refused_unless_allowed() {
    let manager = iris();
    let other = path("linear_regression");
    let error = manager.reload("iris", Some(&other), &ReloadOptions::default()).unwrap_err();
    assert_eq!(error.model(), Some("iris"), "{error}");
    assert!(error.message().contains("signature"), "{error}");
    assert_eq!(manager.info("iris").unwrap().version, 1);
    assert!(manager.predict_row("iris", &[5.1, 3.5, 1.4, 0.2]).is_ok());

    let allowed = ReloadOptions { allow_signature_change: true, ..ReloadOptions::default() };
    let info = manager.reload("iris", Some(&other), &allowed).unwrap();
    assert_eq!((info.version, info.signature.task), (2, Task::Regressor));
    assert!(manager.predict_row("iris", &[0.0; 10]).is_ok());
}

#[test]
fn a_pin_keeps_its_version() {
    let manager = iris();
    let handle = manager.model("iris").unwrap();
    let pinned = handle.pin().unwrap();
    let lease = handle.current().unwrap();
    assert!(pinned.is_pinned());
    let row = [5.1f32, 3.5, 1.4, 0.2];
    let before = pinned.predict_row(&row).unwrap();

    manager.reload("iris", Some(&path("iris_v2")), &ReloadOptions::default()).unwrap();
    let after = pinned.predict_row(&row).unwrap();
    assert_eq!((after.model_version, &after.answer), (1, &before.answer));
    assert_eq!(lease.predict_row(&row).unwrap().answer, before.answer);
    assert_eq!(pinned.version().unwrap(), 1);
    let new = handle.predict_row(&row).unwrap();
    assert_eq!(new.model_version, 2);
    assert_ne!(new.answer, before.answer);
}

#[test]
fn counters_count() {
    let manager = iris();
    let rows = Expected::of("iris_v1");
    for i in 0..3 {
        manager.predict_row("iris", rows.row(i)).unwrap();
    }
    manager.predict_batch("iris", rows.features()).unwrap();
    manager.predict_row("iris", &[1.0]).unwrap_err();
    manager.reload("iris", Some(&path("iris_v2")), &ReloadOptions::default()).unwrap();
    manager.predict_row("iris", rows.row(0)).unwrap();

    let stats = manager.stats("iris").unwrap();
    assert_eq!(stats.name, "iris");
    let [old, new] = stats.versions.as_slice() else { panic!("{:?}", stats.versions) };
    assert_eq!((old.version, new.version), (1, 2));
    assert_eq!((old.serving, new.serving), (false, true));
    assert_eq!((old.requests, old.rows, old.errors), (5, 3 + rows.rows as u64, 1));
    assert!(old.last_error.as_deref().is_some_and(|e| e.contains('4')), "{:?}", old.last_error);
    assert_eq!((new.requests, new.rows, new.errors), (1, 1, 0));
    assert_eq!(new.last_error, None);
    assert!(!old.total.is_zero() && old.p50 <= old.p95 && old.p95 <= old.p99);
    assert!(!old.p50.is_zero() && old.p50 <= old.total);

    let text = manager.metrics_text();
    assert!(text.lines().any(|l| !l.starts_with('#') && l.contains("iris")), "{text}");
}

#[test]
fn info_tells_where_the_model_is_from() {
    let manager = iris();
    let file = path("iris_v1");
    let info = manager.info("iris").unwrap();
    let digest = Sha256::digest(std::fs::read(&file).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(*info.digest, *digest);
    assert_eq!(info.name.as_deref(), Some("iris"));
    assert_eq!(info.format.name(), "onnx");
    assert!(info.path.unwrap().ends_with("iris_v1/model.onnx"));
    assert!(info.weight_bytes > 0 && !info.load_duration.is_zero());
    let options = LoadOptions { display_version: Some("spring".into()), ..LoadOptions::default() };
    let shown = manager.load("b", file, &options).unwrap().info().unwrap();
    assert_eq!(shown.display_version.as_deref(), Some("spring"));
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    let manager = iris();
    let input = ErrorKind::InvalidInput;
    let named = Some("iris");
    says(&manager.predict_row("iris", &[1.0; 3]).unwrap_err(), input, named, &["4", "3"]);
    let wide = Features::F32 { data: &[0.0; 14], rows: 2, width: 7 };
    says(&manager.predict_batch("iris", wide).unwrap_err(), input, named, &["4", "7"]);
    let short = Features::F32 { data: &[0.0; 7], rows: 2, width: 4 };
    says(&manager.predict_batch("iris", short).unwrap_err(), input, named, &["8", "7"]);
    let two = Features::F32 { data: &[0.0; 8], rows: 2, width: 4 };
    says(&manager.predict("iris", two).unwrap_err(), input, named, &["2"]);
    let texts = Tensor::from_vec(&[1, 4], vec![String::from("a"); 4]).unwrap();
    let error = manager.predict_batch("iris", Features::Tensor(texts)).unwrap_err();
    says(&error, input, named, &["float32", "str"]);

    let outputs = |wanted: &[&str]| {
        let x = Tensor::from_vec(&[1, 4], vec![0.0f32; 4]).unwrap();
        manager.run("iris", vec![("X".into(), Value::Tensor(x))], wanted)
    };
    let error = outputs(&["nonsense"]).unwrap_err();
    assert_eq!(error.model(), named);
    assert!(error.message().contains("nonsense"), "{error}");
    assert!(outputs(&[]).is_ok());
    let error = manager.run("iris", Vec::new(), &[]).unwrap_err();
    says(&error, input, named, &["X"]);
}

#[test]
fn inputs_are_given_by_column_in_any_order() {
    let manager = ModelManager::default();
    let options = LoadOptions { task: Some(Task::Regressor), ..LoadOptions::default() };
    let handle = manager.load_bytes("sum", two_inputs(), &options).unwrap();
    let (a, b) = (column(&[1.0, 2.0]), column(&[10.0, 20.0]));
    let values = |features: Features<'_>| match handle.predict_batch(features).unwrap().answers {
        Answers::Values(values) => values.to_f64_vec().unwrap(),
        other => panic!("{other:?}"),
    };
    let columns = vec![("b".to_string(), b.clone()), ("a".to_string(), a.clone())];
    assert_eq!(values(Features::Columns(columns)), [21.0, 42.0]);
    assert_eq!(values(Features::Inputs(vec![a.clone(), b.clone()])), [21.0, 42.0]);
    let table = Features::F32 { data: &[1.0, 10.0, 2.0, 20.0], rows: 2, width: 2 };
    assert_eq!(values(table), [21.0, 42.0]);
    let table = Tensor::from_vec(&[2, 2], vec![1.0f64, 10.0, 2.0, 20.0]).unwrap();
    assert_eq!(values(Features::Tensor(table)), [21.0, 42.0]);
    let ints = Tensor::from_vec(&[2], vec![10i64, 20]).unwrap();
    let columns = vec![("a".to_string(), a.clone()), ("b".to_string(), ints)];
    assert_eq!(values(Features::Columns(columns)), [21.0, 42.0]);
    let row = handle.predict_row(&[3.0, 4.0]).unwrap();
    assert_eq!(row.answer, Answer::Value(11.0));

    let fails = |columns: Vec<(&str, Tensor)>, parts: &[&str]| {
        let columns = columns.into_iter().map(|(name, t)| (name.to_string(), t)).collect();
        let error = handle.predict_batch(Features::Columns(columns)).unwrap_err();
        says(&error, ErrorKind::InvalidInput, Some("sum"), parts);
    };
    fails(vec![("a", a.clone())], &["'b'"]);
    fails(vec![("a", a.clone()), ("b", b.clone()), ("c", b.clone())], &["'c'"]);
    fails(vec![("a", a.clone()), ("a", a.clone()), ("b", b.clone())], &["'a'"]);
    fails(vec![("a", a.clone()), ("b", column(&[1.0]))], &["2", "1"]);
    let text = Tensor::from_vec(&[2], vec!["x".to_string(), "y".to_string()]).unwrap();
    fails(vec![("a", a), ("b", text)], &["'b'", "float32", "str"]);
    let error = handle.predict_row(&[1.0; 3]).unwrap_err();
    says(&error, ErrorKind::InvalidInput, Some("sum"), &["2", "3"]);
}

#[test]
fn features_of_a_wide_input_are_given_by_name() {
    let names: Vec<String> = ["sl", "sw", "pl", "pw"].map(String::from).to_vec();
    let options = LoadOptions { feature_names: Some(names.clone()), ..LoadOptions::default() };
    let model = load(path("iris_v1"), &options).unwrap();
    assert_eq!(model.signature().feature_names.as_ref(), Some(&names));
    let rows = Expected::of("iris_v1");
    let columns: Vec<(String, Tensor)> = names
        .iter()
        .enumerate()
        .rev()
        .map(|(k, name)| {
            let values: Vec<f32> = (0..rows.rows).map(|i| rows.row(i)[k]).collect();
            (name.clone(), column(&values))
        })
        .collect();
    let got = model.predict_batch(Features::Columns(columns.clone())).unwrap();
    let want = model.predict_batch(rows.features()).unwrap();
    assert_eq!((got.answers, got.scores), (want.answers, want.scores));

    let error = model.predict_batch(Features::Columns(columns[1..].to_vec())).unwrap_err();
    says(&error, ErrorKind::InvalidInput, None, &["'pw'"]);
    let mut more = columns;
    more.push(("nose".into(), more[0].1.clone()));
    let error = model.predict_batch(Features::Columns(more)).unwrap_err();
    says(&error, ErrorKind::InvalidInput, None, &["'nose'"]);

    let pairs = names
        .iter()
        .map(|name| (name.clone(), Tensor::from_vec(&[2, 2], vec![0.0f32; 4]).unwrap()));
    let error = model.predict_batch(Features::Columns(pairs.collect())).unwrap_err();
    says(&error, ErrorKind::InvalidInput, None, &["[2, 2]"]);

    let few = LoadOptions { feature_names: Some(names[1..].to_vec()), ..LoadOptions::default() };
    let error = load(path("iris_v1"), &few).err().unwrap();
    says(&error, ErrorKind::InvalidArgument, None, &["3", "4"]);
}

#[test]
fn options_override_what_the_file_says() {
    let options = LoadOptions { task: Some(Task::Transform), ..LoadOptions::default() };
    let model = load(path("linear_regression"), &options).unwrap();
    assert_eq!(model.signature().task, Task::Transform);
    let got = model.predict_row(&[0.0; 10]).unwrap();
    assert!(matches!(got.answer, Answer::Values(values) if values.len() == 1));

    let classes = Classes::Str(["a", "b", "c"].map(Arc::from).to_vec());
    let options = LoadOptions {
        task: Some(Task::Classifier),
        classes: Some(classes.clone()),
        output_kind: Some(OutputKind::Logits),
        ..LoadOptions::default()
    };
    let model = load_bytes(passes_on(), &options).unwrap();
    assert!(model.signature().has_probabilities);
    let got = model.predict_row(&[0.0, 2.0, 1.0]).unwrap();
    assert_eq!(got.answer, Answer::Str("b".into()));
    assert_eq!(got.classes.as_deref(), Some(&classes));
    let sum: f64 = [0.0f64, 2.0, 1.0].iter().map(|x| x.exp()).sum();
    let probabilities = got.probabilities().unwrap();
    for (p, x) in probabilities.iter().zip([0.0f64, 2.0, 1.0]) {
        assert!(common::close(*p, x.exp() / sum, 1e-6), "{probabilities:?}");
    }
    assert_eq!(got.probability, Some(probabilities[1]));

    let scores = LoadOptions { output_kind: Some(OutputKind::Scores), ..options.clone() };
    let got = load_bytes(passes_on(), &scores).unwrap().predict_row(&[0.0, 2.0, 1.0]).unwrap();
    assert_eq!((got.answer, got.probability), (Answer::Str("b".into()), None));
    assert_eq!(got.scores.unwrap().as_slice(), [0.0, 2.0, 1.0]);

    let two = Classes::Int(vec![0, 1]);
    let wrong = LoadOptions { classes: Some(two), ..options };
    let error = load_bytes(passes_on(), &wrong).err().unwrap();
    says(&error, ErrorKind::InvalidArgument, None, &["2", "3"]);
}
