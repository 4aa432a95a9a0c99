//! Layers in a row: products, norms, tables, activations.

use super::common::random::Random;
use super::{Weight, input, model, same};
use candle_core::{D, Device, Module, Tensor as Candle};
use candle_nn::ops::{log_softmax, sigmoid, silu, softmax};
use candle_nn::{Embedding, LayerNorm, Linear, RmsNorm};
use modelserve::Model;
use modelserve::tensor::{Tensor, Value};
use serde_json::json;

#[test]
fn linear() {
    let random = &mut Random::new(1);
    for (ins, outs) in [(1, 1), (3, 2), (64, 33), (130, 7)] {
        let weight = Weight::random(random, "fc.weight", &[outs, ins]);
        let bias = Weight::random(random, "fc.bias", &[outs]);
        let (x, candle) = input(random, &[5, ins], 1.0);
        let layer = json!([{"type": "linear", "name": "fc", "in": ins, "out": outs}]);
        let ours = model("float32", &[ins], &layer, &[&weight, &bias]);
        let want = Linear::new(weight.candle(), Some(bias.candle())).forward(&candle).unwrap();
        same("linear", &ours, x.clone(), &want);

        let layer =
            json!([{"type": "linear", "name": "fc", "in": ins, "out": outs, "bias": false}]);
        let ours = model("float32", &[ins], &layer, &[&weight]);
        let want = Linear::new(weight.candle(), None).forward(&candle).unwrap();
        same("linear without bias", &ours, x, &want);
    }
}

#[test]
fn layer_norm_and_rms_norm() {
    let random = &mut Random::new(2);
    for (size, eps) in [(1, 1e-5), (8, 1e-5), (65, 1e-3)] {
        let weight = Weight::random(random, "n.weight", &[size]);
        let bias = Weight::random(random, "n.bias", &[size]);
        let (x, candle) = input(random, &[4, 3, size], 3.0);
        let layer = json!([{"type": "layer_norm", "name": "n", "size": size, "eps": eps}]);
        let ours = model("float32", &[3, size], &layer, &[&weight, &bias]);
        let want = LayerNorm::new(weight.candle(), bias.candle(), eps).forward(&candle).unwrap();
        same("layer_norm", &ours, x.clone(), &want);

        let layer = json!([{"type": "rms_norm", "name": "n", "size": size, "eps": eps}]);
        let ours = model("float32", &[3, size], &layer, &[&weight]);
        let want = RmsNorm::new(weight.candle(), eps).forward(&candle).unwrap();
        same("rms_norm", &ours, x, &want);
    }
}

#[test]
fn embedding() {
    let random = &mut Random::new(3);
    let (num, dim, length) = (17, 5, 6);
    let weight = Weight::random(random, "e.weight", &[num, dim]);
    let ids: Vec<i64> = (0..3 * length).map(|_| random.below(num) as i64).collect();
    let candle = Candle::from_vec(ids.clone(), &[3, length], &Device::Cpu).unwrap();
    let layer = json!([{"type": "embedding", "name": "e", "num": num, "dim": dim}]);
    let ours = model("int64", &[length], &layer, &[&weight]);
    let want = Embedding::new(weight.candle(), dim).forward(&candle).unwrap();
    same("embedding", &ours, Tensor::from_vec(&[3, length], ids).unwrap(), &want);

    let outside = Tensor::from_vec(&[1, length], vec![num as i64; length]).unwrap();
    let error = ours.run(vec![("x".into(), Value::Tensor(outside))], &[]).unwrap_err();
    assert!(error.to_string().contains("17"), "names the index: {error}");
}

#[test]
fn activations() {
    type Formula = fn(&Candle) -> candle_core::Result<Candle>;
    let table: &[(&str, Formula)] = &[
        ("gelu", |x| x.gelu_erf()),
        ("gelu_tanh", |x| x.gelu()),
        ("silu", silu),
        ("tanh", |x| x.tanh()),
        ("sigmoid", sigmoid),
        ("relu", |x| x.relu()),
        ("elu", |x| x.elu(1.0)),
        ("leaky_relu", |x| candle_nn::ops::leaky_relu(x, 0.01)),
        ("hard_sigmoid", candle_nn::ops::hard_sigmoid),
        ("mish", candle_nn::ops::mish),
    ];
    let random = &mut Random::new(4);
    for (name, formula) in table {
        let ours = model("float32", &[37], &json!([{"type": name}]), &[]);
        for scale in [0.01, 1.0, 8.0] {
            let (x, candle) = input(random, &[11, 37], scale);
            same(name, &ours, x, &formula(&candle).unwrap());
        }
    }
}

#[test]
fn softmax_and_its_logarithm() {
    let random = &mut Random::new(5);
    for (axis, layer_axis) in [(2, -1), (1, 1)] {
        for scale in [1.0, 50.0] {
            let (x, candle) = input(random, &[3, 4, 9], scale);
            let layer = json!([{"type": "softmax", "axis": layer_axis}]);
            let ours = model("float32", &[4, 9], &layer, &[]);
            same("softmax", &ours, x.clone(), &softmax(&candle, axis).unwrap());
            let layer = json!([{"type": "log_softmax", "axis": layer_axis}]);
            let ours = model("float32", &[4, 9], &layer, &[]);
            same("log_softmax", &ours, x, &log_softmax(&candle, axis).unwrap());
        }
    }
}

#[test]
fn a_network_of_several_layers() {
    let random = &mut Random::new(6);
    let weights = [
        Weight::random(random, "fc1.weight", &[20, 6]),
        Weight::random(random, "fc1.bias", &[20]),
        Weight::random(random, "n.weight", &[20]),
        Weight::random(random, "n.bias", &[20]),
        Weight::random(random, "fc2.weight", &[3, 20]),
        Weight::random(random, "fc2.bias", &[3]),
    ];
    let layers = json!([
        {"type": "linear", "name": "fc1", "in": 6, "out": 20},
        {"type": "layer_norm", "name": "n", "size": 20},
        {"type": "gelu"},
        {"type": "dropout"},
        {"type": "linear", "name": "fc2", "in": 20, "out": 3},
        {"type": "softmax"},
    ]);
    let ours = model("float32", &[6], &layers, &weights.iter().collect::<Vec<_>>());
    let (x, candle) = input(random, &[10, 6], 2.0);
    let [w1, b1, wn, bn, w2, b2] = weights.map(|w| w.candle());
    let hidden = Linear::new(w1, Some(b1)).forward(&candle).unwrap();
    let hidden = LayerNorm::new(wn, bn, 1e-5).forward(&hidden).unwrap().gelu_erf().unwrap();
    let logits = Linear::new(w2, Some(b2)).forward(&hidden).unwrap();
    same("network", &ours, x, &softmax(&logits, D::Minus1).unwrap());
}
