//! The plain plan and the optimised one answer alike, and the plain one does so by candle.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Expected, close};
use modelserve::tensor::{Data, Tensor, Value};
use modelserve::{GraphModel, LoadOptions, Model, PlanKind, load};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// How far floats may be apart, absolutely and relatively: both plans add up float32 in orders of
/// their own, and layer upon layer carries the difference on.
const TOLERANCE: f64 = 1e-5;

/// Models whose two answers are further apart, how far, and why.
const EXCEPTIONS: &[(&str, f64, &str)] =
    &[("ppocrv4_det", 5e-5, "some sixty convolutions one after another, then a steep sigmoid")];

/// Operators that the models of `tests/data` must have run on candle.
const ON_CANDLE: &[&str] = &[
    "Add",
    "ArgMax",
    "ArgMin",
    "Cast",
    "Concat",
    "Div",
    "Equal",
    "Exp",
    "Gather",
    "Gemm",
    "Greater",
    "Less",
    "Log",
    "MatMul",
    "Max",
    "Mul",
    "Neg",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Softmax",
    "Sqrt",
    "Sub",
    "Sum",
    "Transpose",
];

/// What the models of the zoo must have run on candle beyond [`ON_CANDLE`].
const ON_CANDLE_IN_ZOO: &[&str] = &[
    "Abs",
    "BatchNormalization",
    "Clip",
    "Conv",
    "Erf",
    "Expand",
    "GlobalAveragePool",
    "GreaterOrEqual",
    "LayerNormalization",
    "LeakyRelu",
    "LessOrEqual",
    "MaxPool",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "Sigmoid",
    "Where",
];

fn options(plan: PlanKind) -> LoadOptions {
    LoadOptions { plan, ..LoadOptions::default() }
}

/// Says where two values differ by more than `tolerance`.
fn compare(path: &str, plain: &Value, optimised: &Value, tolerance: f64) -> Result<(), String> {
    match (plain, optimised) {
        (Value::Tensor(plain), Value::Tensor(optimised)) => {
            compare_tensors(path, plain, optimised, tolerance)
        }
        (Value::Sequence(plain), Value::Sequence(optimised)) if plain.len() == optimised.len() => {
            plain.iter().zip(optimised).try_for_each(|(p, o)| compare(path, p, o, tolerance))
        }
        (Value::Map(plain), Value::Map(optimised))
            if plain.entries.len() == optimised.entries.len() =>
        {
            plain.entries.iter().zip(&optimised.entries).try_for_each(|(p, o)| {
                if p.0 != o.0 {
                    return Err(format!("{path}: the key {:?} and not {:?}", p.0, o.0));
                }
                compare(path, &p.1, &o.1, tolerance)
            })
        }
        _ if plain == optimised => Ok(()),
        _ => Err(format!("{path}: {plain:?} and not {optimised:?}")),
    }
}

fn compare_tensors(
    path: &str,
    plain: &Tensor,
    optimised: &Tensor,
    tolerance: f64,
) -> Result<(), String> {
    if (plain.shape(), plain.dtype()) != (optimised.shape(), optimised.dtype()) {
        return Err(format!(
            "{path}: {} {} and not {} {}",
            plain.dtype(),
            plain.shape(),
            optimised.dtype(),
            optimised.shape()
        ));
    }
    if !plain.dtype().is_float() {
        let differing = match (plain.data(), optimised.data()) {
            (Data::String(a), Data::String(b)) => a.iter().zip(b).filter(|(a, b)| a != b).count(),
            (Data::Bool(a), Data::Bool(b)) => a.iter().zip(b).filter(|(a, b)| a != b).count(),
            _ => {
                let (a, b) = (plain.to_i64_vec().unwrap(), optimised.to_i64_vec().unwrap());
                a.iter().zip(&b).filter(|(a, b)| a != b).count()
            }
        };
        return match differing {
            0 => Ok(()),
            n => Err(format!("{path}: {n} of {} {} differ", plain.len(), plain.dtype())),
        };
    }
    let (a, b) = (plain.to_f64_vec().unwrap(), optimised.to_f64_vec().unwrap());
    let far: Vec<(&f64, &f64)> =
        a.iter().zip(&b).filter(|(a, b)| !close(**a, **b, tolerance)).collect();
    let worst = |(a, b): &(&f64, &f64)| (*a - *b).abs() / (1.0 + b.abs());
    match far.iter().max_by(|x, y| worst(x).total_cmp(&worst(y))) {
        None => Ok(()),
        Some(pair) => Err(format!(
            "{path}: {} of {} differ; the worst by {:.2e}: {} and not {}",
            far.len(),
            a.len(),
            worst(pair),
            pair.0,
            pair.1
        )),
    }
}

fn tolerance(name: &str) -> f64 {
    EXCEPTIONS.iter().find(|(model, ..)| *model == name).map_or(TOLERANCE, |(_, t, _)| *t)
}

/// How often each operator ran on candle.
#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, model: &GraphModel) {
        for step in model.steps() {
            *self.0.entry(step.operator).or_default() += step.candle_runs.unwrap_or(0);
        }
    }

    /// Asserts that each of these operators has run on candle.
    fn assert_ran(&self, operators: &[&str]) {
        let idle: Vec<_> =
            operators.iter().filter(|op| self.0.get(**op).is_none_or(|&n| n == 0)).collect();
        assert!(idle.is_empty(), "candle computed no {idle:?}, but {:?}", self.0);
    }
}

/// Runs both plans on named inputs.
fn both(
    name: &str,
    (plain, optimised): (&GraphModel, &GraphModel),
    inputs: &[(String, Value)],
) -> Result<(), String> {
    let run = |model: &GraphModel| model.run(inputs.to_vec(), &[]);
    let (p, o) = match (run(plain), run(optimised)) {
        (Ok(p), Ok(o)) => (p, o),
        (Err(p), Err(o)) if p.kind() == o.kind() => return Ok(()),
        (p, o) => return Err(format!("{:?} and not {:?}", p.err(), o.err())),
    };
    for ((output, p), (_, o)) in p.iter().zip(&o) {
        compare(output, p, o, tolerance(name))?;
    }
    Ok(())
}

#[test]
fn test_models_answer_alike_in_both_plans() {
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for name in common::names() {
        let plain = common::load_as(&name, &options(PlanKind::Plain));
        let optimised = common::load_as(&name, &options(PlanKind::Optimised));
        let expected = Expected::of(&name);
        let check = || -> Result<(), String> {
            if plain.info().fast_path {
                return Err("the plain plan has a fast path".into());
            }
            if optimised.steps().iter().any(|step| step.candle_runs.is_some()) {
                return Err("the optimised plan has candle's operators".into());
            }
            let rows = Tensor::from_vec(&[expected.rows, expected.width], expected.data.clone());
            let input = (expected.input_name().to_string(), Value::Tensor(rows.unwrap()));
            both(&name, (&plain, &optimised), &[input])?;
            // The optimised plan answers these by its row program.
            let ask = |model: &GraphModel| model.predict_batch(expected.features()).unwrap();
            let (p, o) = (ask(&plain), ask(&optimised));
            for i in 0..expected.rows {
                let (p, o) = (p.row(i).unwrap(), o.row(i).unwrap());
                if let (Some(p), Some(o)) = (&p.scores, &o.scores) {
                    let near = p.iter().zip(o).all(|(p, o)| close(*p, *o, tolerance(&name)));
                    if !near || p.len() != o.len() {
                        return Err(format!("row {i}: scores {p:?} and not {o:?}"));
                    }
                }
                let same = match (&p.answer, &o.answer) {
                    (modelserve::Answer::Value(p), modelserve::Answer::Value(o)) => {
                        close(*p, *o, tolerance(&name))
                    }
                    (modelserve::Answer::Values(p), modelserve::Answer::Values(o)) => {
                        p.len() == o.len()
                            && p.iter().zip(o).all(|(p, o)| close(*p, *o, tolerance(&name)))
                    }
                    (p, o) => p == o,
                };
                if !same {
                    return Err(format!("row {i}: {:?} and not {:?}", p.answer, o.answer));
                }
            }
            Ok(())
        };
        if let Err(why) = check() {
            failures.push(format!("{name}: {why}"));
        }
        counts.add(&plain);
    }
    assert!(failures.is_empty(), "{} models differ:\n{}", failures.len(), failures.join("\n"));
    counts.assert_ran(ON_CANDLE);
}

/// The first test data set of a model of the zoo.
fn zoo_inputs(folder: &Path) -> Option<Vec<(String, Value)>> {
    let set = folder.join("test_data_set_0");
    let files = (0..).map(|i| set.join(format!("input_{i}.pb"))).take_while(|f| f.is_file());
    files
        .map(|file| {
            let (name, tensor) = common::proto::tensor(&std::fs::read(file).unwrap())?;
            Some((name, Value::Tensor(tensor)))
        })
        .collect()
}

#[test]
fn the_zoo_answers_alike_in_both_plans() {
    let Some(zoo) = common::zoo() else { return };
    let (mut counts, mut failures, mut compared) = (Counts::default(), Vec::new(), 0);
    for folder in common::zoo_models(&zoo) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let open = |plan| load(folder.join("model.onnx"), &options(plan));
        let (plain, optimised) = match (open(PlanKind::Plain), open(PlanKind::Optimised)) {
            (Ok(p), Ok(o)) => (p, o),
            (Err(p), Err(o)) if p.kind() == o.kind() => {
                println!("{name}: not loaded: {o}");
                continue;
            }
            (p, o) => {
                failures.push(format!("{name}: loading: {:?} and not {:?}", p.err(), o.err()));
                continue;
            }
        };
        let Some(inputs) = zoo_inputs(&folder) else {
            failures.push(format!("{name}: its inputs cannot be read"));
            continue;
        };
        let began = Instant::now();
        if let Err(why) = both(&name, (&plain, &optimised), &inputs) {
            failures.push(format!("{name}: {why}"));
        }
        println!("{name}: {:?}", began.elapsed());
        compared += 1;
        counts.add(&plain);
    }
    assert!(failures.is_empty(), "{} models differ:\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 0, "the model zoo at {} is empty", zoo.display());
    counts.assert_ran(ON_CANDLE);
    counts.assert_ran(ON_CANDLE_IN_ZOO);
}

#[test]
fn the_comparison_notices_a_difference() {
    let tensor = |x: f32| Value::Tensor(Tensor::from_vec(&[2], vec![1.0, x]).unwrap());
    assert!(compare("y", &tensor(2.0), &tensor(2.000_01), TOLERANCE).is_ok());
    assert!(compare("y", &tensor(2.0), &tensor(2.001), TOLERANCE).is_err());
    assert!(compare("y", &tensor(f32::NAN), &tensor(2.0), TOLERANCE).is_err());
    let label = |x: i64| Value::Tensor(Tensor::from_vec(&[1], vec![x]).unwrap());
    assert!(compare("y", &label(1), &label(2), TOLERANCE).is_err());
    assert!(compare("y", &label(1), &tensor(1.0), TOLERANCE).is_err());
}
