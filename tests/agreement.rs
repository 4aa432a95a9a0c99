//! Every test model answers what its trainer answered, alone and in a batch.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Expected, close};
use modelserve::tensor::{Data, Tensor, Value};
use modelserve::{Answers, Classes, Model, Prediction, Predictions, Task};

const TOLERANCE: f64 = 1e-5;

/// Models whose answers are further from their trainer's, how far, and why.
const EXCEPTIONS: &[(&str, f64, &str)] = &[(
    "kmeans",
    5e-5,
    "the converted model takes the distance as the root of a difference of float32 squares, which \
     cancels near a centre",
)];

fn tolerance(name: &str) -> f64 {
    EXCEPTIONS.iter().find(|(model, ..)| *model == name).map_or(TOLERANCE, |(_, t, _)| *t)
}

fn task(name: &str) -> Task {
    match name {
        "kmeans" => Task::Cluster,
        "isolation_forest" => Task::Outlier,
        "scaler_pca" => Task::Transform,
        "linear_regression"
        | "random_forest_regressor"
        | "svr"
        | "xgb_regressor"
        | "lgbm_regressor" => Task::Regressor,
        _ => Task::Classifier,
    }
}

/// Runs `check` on every model and reports all that fail, not only the first.
fn for_every_model(check: impl Fn(&str, &dyn Model, &Expected) -> Result<(), String>) {
    let names = common::names();
    assert!(names.len() >= 31, "only {} test models", names.len());
    let mut failures = Vec::new();
    for name in &names {
        let model = common::load_model(name);
        if let Err(why) = check(name, &model, &Expected::of(name)) {
            failures.push(format!("{name}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{} models fail:\n{}", failures.len(), failures.join("\n"));
}

fn label_texts(labels: &Tensor) -> Vec<String> {
    match labels.data() {
        Data::String(all) => all.clone(),
        _ => labels.to_i64_vec().unwrap().iter().map(i64::to_string).collect(),
    }
}

fn class_texts(classes: &Classes) -> Vec<String> {
    match classes {
        Classes::Int(all) => all.iter().map(i64::to_string).collect(),
        Classes::Str(all) => all.iter().map(ToString::to_string).collect(),
    }
}

fn same_numbers(
    what: &str,
    got: Option<&Tensor>,
    want: &(Vec<f64>, usize),
    rows: usize,
    tolerance: f64,
) -> Result<(), String> {
    let got = got.ok_or_else(|| format!("no {what}"))?;
    let (want, width) = want;
    if got.dims() != [rows, *width] {
        return Err(format!("{what} are {:?}, not [{rows}, {width}]", got.dims()));
    }
    let got = got.to_f64_vec().unwrap();
    let mut worst = (0.0f64, 0);
    let mut far = 0;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        if !close(g, w, tolerance) {
            far += 1;
            let distance = (g - w).abs() / (1.0 + w.abs());
            if distance > worst.0 || !distance.is_finite() {
                worst = (distance, i);
            }
        }
    }
    let (distance, i) = worst;
    if far == 0 {
        return Ok(());
    }
    Err(format!(
        "{far} of {} {what} differ; the worst by {distance:.2e}, row {}: {} and not {}",
        want.len(),
        i / width,
        got[i],
        want[i]
    ))
}

fn agrees(name: &str, got: &Predictions, expected: &Expected) -> Result<(), String> {
    let tolerance = tolerance(name);
    let rows = expected.rows;
    if got.rows != rows {
        return Err(format!("{} rows of {rows}", got.rows));
    }
    if let Some(want) = expected.labels() {
        let Answers::Labels(labels) = &got.answers else {
            return Err(format!("no labels: {:?}", got.answers));
        };
        let labels = label_texts(labels);
        let wrong: Vec<usize> = (0..rows).filter(|&i| labels.get(i) != want.get(i)).collect();
        if labels.len() != rows || !wrong.is_empty() {
            return Err(format!("{} labels, wrong in rows {wrong:?}", labels.len()));
        }
    }
    if let Some(want) = expected.classes() {
        let classes = got.classes.as_deref().map(class_texts);
        if classes.as_ref() != Some(&want) {
            return Err(format!("the classes are {classes:?}, not {want:?}"));
        }
    }
    if let Some(want) = expected.matrix("probabilities") {
        same_numbers("probabilities", got.probabilities(), &want, rows, tolerance)?;
    }
    if let Some(want) = expected.matrix("decision") {
        if got.probabilities().is_some() {
            return Err("decision values are called probabilities".into());
        }
        same_numbers("scores", got.scores.as_ref(), &want, rows, tolerance)?;
    }
    if let Some(want) = expected.matrix("values") {
        let values = match &got.answers {
            Answers::Values(values) => Some(values),
            _ => got.scores.as_ref(),
        };
        same_numbers("values", values, &want, rows, tolerance)?;
    }
    Ok(())
}

/// The parts of a prediction that the model decides, floats as bits.
fn exact(prediction: &Prediction) -> impl PartialEq + std::fmt::Debug + use<> {
    let bits = |all: &[f64]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    (
        format!("{:?}", prediction.answer),
        prediction.probability.map(f64::to_bits),
        prediction.scores.as_deref().map(bits),
        prediction.classes.clone(),
    )
}

#[test]
fn batches_agree_with_the_trainer() {
    for_every_model(|name, model, expected| {
        let got = model.predict_batch(expected.features()).map_err(|e| e.to_string())?;
        agrees(name, &got, expected)
    });
}

#[test]
fn the_task_is_what_the_family_says() {
    for_every_model(|name, model, expected| {
        let (got, want) = (model.signature().task, task(name));
        if got != want {
            return Err(format!("is a {got}, not a {want}"));
        }
        let probable = model.signature().has_probabilities;
        if probable != expected.matrix("probabilities").is_some() {
            return Err(format!("has_probabilities is {probable}"));
        }
        Ok(())
    });
}

#[test]
fn a_row_alone_answers_bit_for_bit_as_in_a_batch() {
    for_every_model(|_, model, expected| {
        let batch = model.predict_batch(expected.features()).map_err(|e| e.to_string())?;
        for i in 0..expected.rows {
            let alone = model.predict_row(expected.row(i)).map_err(|e| e.to_string())?;
            let inside = batch.row(i).map_err(|e| e.to_string())?;
            if exact(&alone) != exact(&inside) {
                return Err(format!("row {i} alone {alone:?}, in the batch {inside:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn named_outputs_are_there_in_the_order_asked() {
    for_every_model(|_, model, expected| {
        let signature = model.signature();
        if signature.inputs[0].name != expected.input_name() {
            return Err(format!("the input is called {}", signature.inputs[0].name));
        }
        let input = || {
            let tensor =
                Tensor::from_vec(&[expected.rows, expected.width], expected.data.clone()).unwrap();
            vec![(expected.input_name().to_string(), Value::Tensor(tensor))]
        };
        let names: Vec<&str> = signature.outputs.iter().map(|o| o.name.as_str()).collect();
        let all = model.run(input(), &[]).map_err(|e| e.to_string())?;
        let got: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        if got != names {
            return Err(format!("outputs {got:?}, not {names:?}"));
        }
        let reversed: Vec<&str> = names.iter().rev().copied().collect();
        let asked = model.run(input(), &reversed).map_err(|e| e.to_string())?;
        let got: Vec<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
        if got != reversed {
            return Err(format!("asked for {reversed:?}, got {got:?}"));
        }
        for (name, value) in &asked {
            let first = all.iter().find(|(other, _)| other == name).unwrap();
            if format!("{value:?}") != format!("{:?}", first.1) {
                return Err(format!("{name} differs between two runs"));
            }
        }
        Ok(())
    });
}

#[test]
fn the_comparison_notices_a_wrong_answer() {
    let name = "iris_v1";
    let model = common::load_model(name);
    let mut expected = Expected::of(name);
    let got = model.predict_batch(expected.features()).unwrap();
    assert_eq!(agrees(name, &got, &expected), Ok(()));
    assert!(agrees(name, &got, &Expected::of("iris_v2")).is_err());
    expected.data[0] += 0.01;
    let moved = model.predict_batch(expected.features()).unwrap();
    assert!(agrees(name, &moved, &expected).is_err(), "a row moved by 0.01 went unnoticed");
}
