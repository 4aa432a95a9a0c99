//! What is written into a caller's memory is what a prediction answers, to the bit.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use modelserve::policy::cache::CacheOptions;
use modelserve::tensor::{Data, Tensor};
use modelserve::{
    AnswerKind, Answers, Buffers, CancelToken, Classes, Ctx, ErrorKind, Features, LoadOptions,
    Model, ModelManager, PlanKind, Policies, Predictions, Request, Target, Written,
};
use std::sync::Barrier;
use std::time::Duration;

const UNTOUCHED: f64 = -12345.0;

/// Labels as buffers have them, and scores or values.
fn flat(answers: &Predictions) -> (Vec<i64>, Vec<f64>) {
    let index = |label: &String| match answers.classes.as_deref() {
        Some(Classes::Str(all)) => {
            all.iter().position(|c| **c == **label).map_or(-1, |i| i64::try_from(i).unwrap())
        }
        _ => -1,
    };
    let labels = |all: &Tensor| match all.data() {
        Data::String(all) => all.iter().map(index).collect(),
        _ => all.to_i64_vec().unwrap(),
    };
    let numbers = |all: Option<&Tensor>| all.map_or_else(Vec::new, |t| t.to_f64_vec().unwrap());
    match &answers.answers {
        Answers::Labels(all) => (labels(all), numbers(answers.scores.as_ref())),
        Answers::Values(all) => (Vec::new(), numbers(Some(all))),
        other => panic!("{other:?}"),
    }
}

/// Asks for `rows` by `ask` with buffers that are longer than the answer.
fn asked(
    rows: usize,
    ask: impl Fn(&mut Buffers<'_>) -> modelserve::Result<Written>,
) -> (Written, Vec<i64>, Vec<f64>, Vec<f32>) {
    let told = ask(&mut Buffers::default()).unwrap();
    assert_eq!((told.rows, told.too_short), (rows, None));
    let (n, m) = (rows * told.labels, rows * told.scores);
    let mut labels = vec![i64::MIN; n + 1];
    let mut doubles = vec![UNTOUCHED; m + 1];
    let mut floats = vec![UNTOUCHED as f32; m];
    let written =
        ask(&mut Buffers::default().labels(&mut labels).scores_f64(&mut doubles)).unwrap();
    ask(&mut Buffers::default().scores_f32(&mut floats)).unwrap();
    assert_eq!((written.labels, written.scores), (told.labels, told.scores));
    assert_eq!((labels.pop(), doubles.pop()), (Some(i64::MIN), Some(UNTOUCHED)));
    (written, labels, doubles, floats)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Holds all ways to write answers against those that are objects.
fn agrees(name: &str, model: &dyn Model, rows: &Expected) {
    let (labels, scores) = flat(&model.predict_batch(rows.features()).unwrap());
    let (written, got_labels, got, got_f32) =
        asked(rows.rows, |out| model.predict_into(rows.features(), out));
    assert_eq!((&labels, bits(&scores)), (&got_labels, bits(&got)), "{name}");
    let rounded: Vec<u32> = scores.iter().map(|&x| (x as f32).to_bits()).collect();
    assert_eq!(rounded, got_f32.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), "{name}");

    let doubles: Vec<f64> = rows.data.iter().map(|&x| x.into()).collect();
    let wide = Features::F64 { data: &doubles, rows: rows.rows, width: rows.width };
    let (_, wide_labels, wide_scores, _) =
        asked(rows.rows, |out| model.predict_into(wide.clone(), out));
    assert_eq!((&labels, bits(&scores)), (&wide_labels, bits(&wide_scores)), "{name}: doubles");

    for i in 0..rows.rows.min(20) {
        let data = rows.row(i);
        let features = Features::F32 { data, rows: 1, width: data.len() };
        let request = Request::Row(features);
        let answer = model.predict_row(data).unwrap();
        let (row, label, score, _) =
            asked(1, |out| model.call_into(&request, out, &mut Ctx::default()));
        let told = row.row.clone().unwrap();
        assert_eq!(label, labels[i * written.labels..(i + 1) * written.labels], "{name}, {i}");
        let of_row = &scores[i * written.scores..(i + 1) * written.scores];
        assert_eq!(bits(of_row), bits(&score), "{name}, {i}");
        assert_eq!(told.probability, answer.probability, "{name}, {i}");
        match row.answer {
            AnswerKind::Int | AnswerKind::Str => assert_eq!(label, [told.label], "{name}, {i}"),
            _ => assert_eq!(told.value.to_bits(), score[0].to_bits(), "{name}, {i}"),
        }
        assert_eq!(told.text.is_some(), row.answer == AnswerKind::Str, "{name}, {i}");
    }
}

#[test]
fn what_is_written_is_what_is_answered() {
    for name in common::names() {
        let rows = Expected::of(&name);
        agrees(&name, &common::load_model(&name), &rows);
    }
    for name in ["logistic_strings", "lgbm_regressor", "scaler_pca"] {
        let options = LoadOptions { plan: PlanKind::Plain, ..LoadOptions::default() };
        agrees(name, &common::load_as(name, &options), &Expected::of(name));
    }
}

#[test]
fn a_manager_writes_what_it_answers_by_every_way() {
    let manager = ModelManager::default();
    let path = common::model_path("logistic_strings");
    let rows = Expected::of("logistic_strings");
    let handle = manager.load("text", &path, &LoadOptions::default()).unwrap();
    agrees("by name", &*handle.model(), &rows);
    agrees("pinned", &*handle.pin().unwrap().model(), &rows);
    let cached = Policies { cache: Some(CacheOptions::default()), ..Policies::default() };
    manager.set_policies("text", cached).unwrap();
    agrees("cached", &*handle.model(), &rows);

    let mut ctx = Ctx { target: Target::Version(9), ..Ctx::default() };
    let request = Request::Batch(rows.features());
    let failed = handle.call_into(&request, &mut Buffers::default(), &mut ctx).unwrap_err();
    assert_eq!((failed.kind(), failed.model()), (ErrorKind::NotFound, Some("text")));
    let before: u64 = handle.stats().unwrap().versions.iter().map(|v| v.requests).sum();
    let written = handle.predict_into(rows.features(), &mut Buffers::default()).unwrap();
    assert_eq!((written.model_version, &*written.receipt.model.unwrap()), (1, "text"));
    let after: u64 = handle.stats().unwrap().versions.iter().map(|v| v.requests).sum();
    assert_eq!(after, before + 1);
    manager.unload("text").unwrap();
    let gone = handle.predict_into(rows.features(), &mut Buffers::default()).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn a_buffer_that_is_too_short_says_what_it_needs_and_stays_as_it_is() {
    let rows = Expected::of("iris_v1");
    let data = &rows.data[..3 * rows.width];
    let plain = LoadOptions { plan: PlanKind::Plain, ..LoadOptions::default() };
    for options in [LoadOptions::default(), plain] {
        let model = common::load_as("iris_v1", &options);
        let features = || Features::F32 { data, rows: 3, width: rows.width };
        let (mut labels, mut scores) = ([7; 3], [7.0; 9]);
        let mut out = Buffers::default().labels(&mut labels[..2]).scores_f64(&mut scores);
        let short = model.predict_into(features(), &mut out).unwrap_err();
        assert_eq!(short.kind(), ErrorKind::InvalidArgument);
        assert_eq!(short.message(), "'labels' has room for 2, the answer needs 3");
        let mut out = Buffers::default().labels(&mut labels).scores_f64(&mut scores[..8]);
        let short = model.predict_into(features(), &mut out).unwrap_err();
        assert_eq!(short.message(), "'scores' has room for 8, the answer needs 9");
        let request = Request::Batch(features());
        let told = model.call_into(&request, &mut out, &mut Ctx::default()).unwrap();
        let short = told.too_short.unwrap();
        assert_eq!((short.buffer, short.has, short.needs), ("scores", 8, 9));
        assert_eq!((labels, scores), ([7; 3], [7.0; 9]));
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let rows = Expected::of("iris_v1");
    let model = common::load_model("iris_v1");
    let ragged = Features::F64 { data: &[1.0; 7], rows: 2, width: 4 };
    let refused = model.predict_into(ragged, &mut Buffers::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let narrow = Features::F64 { data: &[1.0; 6], rows: 2, width: 3 };
    let refused = model.predict_into(narrow, &mut Buffers::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let two = Request::Row(Features::F32 { data: &rows.data[..8], rows: 2, width: 4 });
    let refused = model.call_into(&two, &mut Buffers::default(), &mut Ctx::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let tensors = LoadOptions { task: Some(modelserve::Task::Tensors), ..LoadOptions::default() };
    let model = common::load_as("iris_v1", &tensors);
    let refused = model.predict_into(rows.features(), &mut Buffers::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// A value that a step refuses, behind thousands of rows that it took: nothing was written.
#[test]
fn what_is_refused_late_leaves_the_buffers_alone() {
    let path = common::data().join("pipelines/strict.onnx");
    let model = modelserve::load(path, &LoadOptions::default()).unwrap();
    assert!(model.info().fast_path);
    let mut texts = vec!["b".to_string(); 40_000];
    let ask = |texts: &[String], scores: &mut [f64]| {
        let tensor = Tensor::from_vec(&[texts.len(), 1], texts.to_vec()).unwrap();
        model.predict_into(Features::Tensor(tensor), &mut Buffers::default().scores_f64(scores))
    };
    let mut scores = vec![UNTOUCHED; texts.len()];
    ask(&texts, &mut scores).unwrap();
    assert!(scores.iter().all(|&x| x == 5.0));
    *texts.last_mut().unwrap() = "c".into();
    scores.fill(UNTOUCHED);
    let error = ask(&texts, &mut scores).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1 of 40000 values are no known category"), "{error}");
    assert!(scores.iter().all(|&x| x == UNTOUCHED));
}

/// A batch that takes far longer than a deadline of a few milliseconds, in one block after another.
fn long_batch(threads: usize, check: impl Fn(&dyn Model, Features<'_>)) {
    let rows = Expected::of("random_forest");
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let model = common::load_as("random_forest", &options);
    let count = model.request_limits().rows;
    let data: Vec<f32> = rows.data.iter().copied().cycle().take(count * rows.width).collect();
    check(&model, Features::F32 { data: &data, rows: count, width: rows.width });
}

#[test]
fn a_long_batch_ends_at_its_deadline_and_writes_nothing() {
    for threads in [1, 2] {
        long_batch(threads, |model, features| {
            let rows = features.rows();
            let request = Request::Batch(features);
            let soon = || Ctx::within(Duration::from_millis(2));
            let late = model.call(&request, &mut soon()).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::DeadlineExceeded, "{threads} threads");

            let (mut labels, mut scores) = (vec![i64::MIN; rows], vec![UNTOUCHED; rows * 16]);
            let mut out = Buffers::default().labels(&mut labels).scores_f64(&mut scores);
            let late = model.call_into(&request, &mut out, &mut soon()).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::DeadlineExceeded, "{threads} threads");
            assert!(labels.iter().all(|&x| x == i64::MIN), "{threads} threads");
            assert!(scores.iter().all(|&x| x.to_bits() == UNTOUCHED.to_bits()));
        });
    }
}

#[test]
fn a_long_batch_ends_when_it_is_cancelled() {
    long_batch(1, |model, features| {
        let cancel = CancelToken::default();
        let mut ctx = Ctx { cancel: Some(cancel.clone()), ..Ctx::default() };
        let begun = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                std::thread::sleep(Duration::from_millis(2));
                cancel.cancel();
            });
            begun.wait();
            let ended = model.call(&Request::Batch(features), &mut ctx).unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::Cancelled);
        });
    });
}
