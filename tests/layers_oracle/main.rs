//! Layers of a safetensors model compute what candle-nn's modules of the same weights compute, and
//! what plain loops over PyTorch's and transformers' formulas do.

#![cfg(feature = "safetensors")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod encoders;
mod heads;
mod images;
mod joins;
mod plain;
mod recurrent;
mod transformers;

use candle_core::{Device, Tensor as Candle};
use common::random::Random;
use modelserve::tensor::{Tensor, Value};
use modelserve::{Format, GraphModel, LoadOptions, Model, load_bytes};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};

/// A named weight.
struct Weight {
    name: String,
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Weight {
    fn random(random: &mut Random, name: impl Into<String>, dims: &[usize]) -> Weight {
        let values = random.floats(dims.iter().product(), 1.0);
        Weight { name: name.into(), dims: dims.to_vec(), values }
    }

    /// A weight between 0.5 and 1.5: a variance, or a scale.
    fn positive(random: &mut Random, name: impl Into<String>, dims: &[usize]) -> Weight {
        let values = random.floats(dims.iter().product(), 0.5);
        let values = values.into_iter().map(|x| x + 1.0).collect();
        Weight { name: name.into(), dims: dims.to_vec(), values }
    }

    fn candle(&self) -> Candle {
        Candle::from_vec(self.values.clone(), self.dims.as_slice(), &Device::Cpu).unwrap()
    }
}

/// A file of these weights.
fn file<'a>(weights: impl IntoIterator<Item = &'a Weight>) -> Vec<u8> {
    let weights: Vec<&Weight> = weights.into_iter().collect();
    let bytes: Vec<Vec<u8>> =
        weights.iter().map(|w| w.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = weights.iter().zip(&bytes).map(|(w, bytes)| {
        (w.name.as_str(), TensorView::new(Dtype::F32, w.dims.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The model of these weights and this `config.json`.
fn model_of<'a>(config: &Json, weights: impl IntoIterator<Item = &'a Weight>) -> GraphModel {
    let options = LoadOptions {
        format: Some(Format::Safetensors),
        config: Some(config.to_string()),
        ..LoadOptions::default()
    };
    load_bytes(file(weights), &options).unwrap_or_else(|e| panic!("{config}: {e}"))
}

/// The model of `layers` over a float32 (or int64) input of `shape` after the batch.
fn model(dtype: &str, shape: &[usize], layers: &Json, weights: &[&Weight]) -> GraphModel {
    let mut dims = vec![json!("batch")];
    dims.extend(shape.iter().map(|n| json!(n)));
    let config = json!({
        "format": "modelserve-layers",
        "version": 1,
        "inputs": [{"name": "x", "dtype": dtype, "shape": dims}],
        "layers": layers,
    });
    model_of(&config, weights.iter().copied())
}

/// The outputs of a model by name.
fn run(model: &GraphModel, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
    let inputs = inputs.iter().map(|(n, t)| (n.to_string(), Value::Tensor(t.clone()))).collect();
    let outputs = model.run(inputs, &[]).unwrap();
    let tensor = |(name, value)| match value {
        Value::Tensor(tensor) => (name, tensor),
        other => panic!("{name}: {other:?}"),
    };
    outputs.into_iter().map(tensor).collect()
}

/// Checks that a tensor has these dimensions and, nearly, these values.
fn nearly(what: &str, got: &Tensor, dims: &[usize], want: &[f64], tolerance: f64) {
    assert_eq!(got.dims(), dims, "{what}");
    let got = got.as_slice::<f32>().unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(common::close(g.into(), w, tolerance), "{what}, element {i}: {g} and not {w}");
    }
}

fn same(what: &str, model: &GraphModel, input: Tensor, want: &Candle) {
    let outputs = run(model, &[("x", input)]);
    let [(name, got)] = outputs.as_slice() else { panic!("{what}: {outputs:?}") };
    assert_eq!(name, "output");
    let values: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    nearly(what, got, want.dims(), &values, 1e-5);
}

fn input(random: &mut Random, dims: &[usize], scale: f32) -> (Tensor, Candle) {
    let values = random.floats(dims.iter().product(), scale);
    let candle = Candle::from_vec(values.clone(), dims, &Device::Cpu).unwrap();
    (Tensor::from_vec(dims, values).unwrap(), candle)
}
