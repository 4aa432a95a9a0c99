//! Branches, named results, several inputs and outputs, and what only moves.

use super::common::random::Random;
use super::{Weight, input, model, model_of, nearly, run};
use modelserve::tensor::Tensor;
use serde_json::{Value as Json, json};

/// The answer of these layers to one input `[1, …]` of the numbers 1, 2, …
fn answer(shape: &[usize], layers: Json) -> Tensor {
    let n: usize = shape.iter().product();
    let dims = [&[1], shape].concat();
    let x = Tensor::from_vec(&dims, (1..=n).map(|i| i as f32).collect()).unwrap();
    let ours = model("float32", shape, &layers, &[]);
    run(&ours, &[("x", x)]).remove(0).1
}

fn gives(shape: &[usize], layers: Json, dims: &[usize], want: &[f64]) {
    let got = answer(shape, layers.clone());
    nearly(&layers.to_string(), &got, dims, want, 1e-6);
}

#[test]
fn what_only_moves() {
    let six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    gives(&[2, 3], json!([{"type": "flatten"}]), &[1, 6], &six);
    gives(&[2, 3], json!([{"type": "reshape", "shape": [3, -1]}]), &[1, 3, 2], &six);
    gives(&[1, 2, 3], json!([{"type": "flatten", "start": 1, "end": 2}]), &[1, 2, 3], &six);
    gives(&[2, 3, 1], json!([{"type": "flatten", "start": 2}]), &[1, 2, 3], &six);
    let turned = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    gives(&[2, 3], json!([{"type": "transpose", "axes": [1, 2]}]), &[1, 3, 2], &turned);
    gives(&[2, 3], json!([{"type": "permute", "axes": [0, 2, 1]}]), &[1, 3, 2], &turned);
    gives(&[2, 3], json!([{"type": "permute", "axes": [2, 0, 1]}]), &[3, 1, 2], &turned);
    gives(&[2, 3], json!([{"type": "unsqueeze", "axis": -1}]), &[1, 2, 3, 1], &six);
    gives(&[2, 3, 1], json!([{"type": "squeeze", "axis": 3}]), &[1, 2, 3], &six);
    gives(&[2, 3], json!([{"type": "select", "axis": 1, "index": -1}]), &[1, 3], &six[3..]);
    gives(
        &[6],
        json!([{"type": "slice", "axis": 1, "start": 1, "step": 2}]),
        &[1, 3],
        &[2., 4., 6.],
    );
    gives(
        &[6],
        json!([{"type": "slice", "axis": -1, "start": -4, "end": -1}]),
        &[1, 3],
        &six[2..5],
    );
    gives(&[3], json!([{"type": "pad", "before": 1, "value": 9}]), &[1, 4], &[9., 1., 2., 3.]);
    let reflected = [3.0, 2.0, 1.0, 2.0, 3.0, 2.0];
    let pad = json!([{"type": "pad", "before": 2, "after": 1, "mode": "reflect"}]);
    gives(&[3], pad, &[1, 6], &reflected);
    let pad = json!([{"type": "pad", "axis": 1, "after": 1, "mode": "edge"}]);
    gives(&[2, 1], pad, &[1, 3, 1], &[1., 2., 2.]);
}

#[test]
fn functions_and_reductions() {
    let square = json!([{"type": "square"}, {"type": "sqrt"}, {"type": "scale", "by": 2, "add": -3},
        {"type": "abs"}, {"type": "pow", "exponent": 3}, {"type": "clip", "min": 0.5, "max": 20}]);
    gives(&[3], square, &[1, 3], &[1., 1., 20.]);
    gives(&[2, 2], json!([{"type": "mean", "axis": [1, 2]}]), &[1], &[2.5]);
    gives(&[2, 2], json!([{"type": "sum", "axis": 1, "keep": true}]), &[1, 1, 2], &[4., 6.]);
    gives(&[2, 2], json!([{"type": "amax", "axis": 2}]), &[1, 2], &[2., 4.]);
    let norm = 14f64.sqrt();
    gives(&[3], json!([{"type": "normalize"}]), &[1, 3], &[1. / norm, 2. / norm, 3. / norm]);
    gives(&[2], json!([{"type": "exp"}, {"type": "log"}]), &[1, 2], &[1., 2.]);
}

#[test]
fn results_come_together() {
    let named = |join: Json| json!([{"type": "scale", "by": 10, "as": "ten"}, join]);
    let with = |kind: &str| named(json!({"type": kind, "from": "x", "with": "ten"}));
    gives(&[2], with("add"), &[1, 2], &[11., 22.]);
    gives(&[2], with("sub"), &[1, 2], &[-9., -18.]);
    gives(&[2], with("mul"), &[1, 2], &[10., 40.]);
    gives(&[2], with("div"), &[1, 2], &[0.1, 0.1]);
    gives(&[2], with("concat"), &[1, 4], &[1., 2., 10., 20.]);
    let stack = named(json!({"type": "stack", "with": ["x", "ten"], "axis": 1}));
    gives(&[2], stack, &[1, 3, 2], &[10., 20., 1., 2., 10., 20.]);
    let stack = named(json!({"type": "stack", "with": "x", "axis": 0}));
    gives(&[2], stack, &[2, 1, 2], &[10., 20., 1., 2.]);
    let residual = json!([{"type": "residual", "layers": [{"type": "square"}, {"type": "relu"}]}]);
    gives(&[3], residual, &[1, 3], &[2., 6., 12.]);
    let residual = json!([{"type": "residual", "layers": [{"type": "square"}],
        "shortcut": [{"type": "scale", "by": -1}]}]);
    gives(&[3], residual, &[1, 3], &[0., 2., 6.]);
    let branches = json!([{"type": "branches", "branches": [[], [{"type": "square"}],
        [{"type": "slice", "axis": 1, "end": 1}]]}]);
    gives(&[2], branches, &[1, 5], &[1., 2., 1., 4., 1.]);
    let branches = json!([{"type": "branches", "join": "mul", "branches": [[],
        [{"type": "residual", "layers": [{"type": "square"}]}]]}]);
    gives(&[2], branches, &[1, 2], &[2., 12.]);
    // A size of 1 is repeated, as a gate of each channel is.
    let gate = json!([{"type": "mean", "axis": 2, "keep": true, "as": "gate"},
        {"type": "mul", "from": "x", "with": "gate"}]);
    gives(&[2, 2], gate, &[1, 2, 2], &[1.5, 3., 10.5, 14.]);
}

#[test]
fn parameters_and_positions() {
    let random = &mut Random::new(51);
    let weight = Weight::random(random, "p", &[3, 2]);
    let scale = Weight::random(random, "s", &[2]);
    let table = Weight::random(random, "t.weight", &[5, 2]);
    let layers = json!([
        {"type": "position_embedding", "name": "t", "num": 5, "dim": 2},
        {"type": "add_parameter", "name": "p", "shape": [3, 2]},
        {"type": "mul_parameter", "name": "s", "shape": [2]},
    ]);
    let ours = model("float32", &[3, 2], &layers, &[&weight, &scale, &table]);
    let (x, _) = input(random, &[2, 3, 2], 1.0);
    let got = run(&ours, &[("x", x.clone())]);
    let at = |w: &Weight, i: usize| f64::from(w.values[i % w.values.len()]);
    let numbers = x.as_slice::<f32>().unwrap().iter().enumerate();
    let want: Vec<f64> = numbers
        .map(|(i, &x)| (f64::from(x) + at(&table, i % 6) + at(&weight, i)) * at(&scale, i))
        .collect();
    nearly("parameters", &got[0].1, &[2, 3, 2], &want, 1e-6);
}

#[test]
fn several_inputs_and_outputs() {
    let random = &mut Random::new(52);
    let table = Weight::random(random, "e.weight", &[4, 2]);
    let config = json!({
        "format": "modelserve-layers", "version": 1,
        "inputs": [
            {"name": "x", "shape": ["batch", 2]},
            {"name": "kind", "dtype": "int64", "shape": ["batch"]},
        ],
        "preprocess": {"mean": 1},
        "layers": [
            {"type": "embedding", "from": "kind", "name": "e", "num": 4, "dim": 2, "as": "row"},
            {"type": "add", "from": "x", "with": "row"},
        ],
        "outputs": [
            {"name": "sum"}, {"name": "table", "from": "row"}, {"name": "again", "from": "row"},
            {"name": "centred", "from": "x"},
        ],
    });
    let ours = model_of(&config, [&table]);
    let x = Tensor::from_vec(&[2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let kind = Tensor::from_vec(&[2], vec![3i64, 0]).unwrap();
    let got = run(&ours, &[("x", x), ("kind", kind)]);
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sum", "table", "again", "centred"]);
    let v = |i: usize| f64::from(table.values[i]);
    let rows = [v(6), v(7), v(0), v(1)];
    let centred = [0.0, 1.0, 2.0, 3.0];
    let sum: Vec<f64> = rows.iter().zip(centred).map(|(r, x)| r + x).collect();
    nearly("sum", &got[0].1, &[2, 2], &sum, 1e-6);
    nearly("table", &got[1].1, &[2, 2], &rows, 1e-6);
    nearly("again", &got[2].1, &[2, 2], &rows, 1e-6);
    nearly("centred", &got[3].1, &[2, 2], &centred, 1e-6);
}
