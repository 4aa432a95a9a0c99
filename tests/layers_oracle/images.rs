//! Convolutions, normalisation and pooling of signals and images.

use super::common::random::Random;
use super::{Weight, input, model, nearly, run, same};
use candle_core::Module;
use candle_nn::{
    BatchNorm, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose1d, ConvTranspose1dConfig,
    ConvTranspose2d, ConvTranspose2dConfig, GroupNorm, ModuleT,
};
use serde_json::json;

#[test]
fn convolutions() {
    let random = &mut Random::new(41);
    for (groups, stride, padding, dilation) in [(1, 1, 0, 1), (2, 2, 1, 1), (1, 1, 2, 2)] {
        let weight = Weight::random(random, "c.weight", &[4, 2 / groups, 3]);
        let bias = Weight::random(random, "c.bias", &[4]);
        let (x, candle) = input(random, &[2, 2, 11], 1.0);
        let layer = json!([{"type": "conv1d", "name": "c", "in": 2, "out": 4, "kernel": 3,
            "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}]);
        let ours = model("float32", &[2, 11], &layer, &[&weight, &bias]);
        let config = Conv1dConfig { padding, stride, dilation, groups, ..Conv1dConfig::default() };
        let conv = Conv1d::new(weight.candle(), Some(bias.candle()), config);
        same("conv1d", &ours, x, &conv.forward(&candle).unwrap());

        let weight = Weight::random(random, "c.weight", &[4, 2 / groups, 3, 3]);
        let (x, candle) = input(random, &[2, 2, 9, 10], 1.0);
        let layer = json!([{"type": "conv2d", "name": "c", "in": 2, "out": 4, "kernel": 3,
            "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
            "bias": false}]);
        let ours = model("float32", &[2, 9, 10], &layer, &[&weight]);
        let config = Conv2dConfig { padding, stride, dilation, groups, ..Conv2dConfig::default() };
        let conv = Conv2d::new(weight.candle(), None, config);
        same("conv2d", &ours, x, &conv.forward(&candle).unwrap());
    }
}

#[test]
fn transposed_convolutions() {
    let random = &mut Random::new(42);
    for (stride, padding, output_padding, dilation) in [(1, 0, 0, 1), (2, 1, 1, 1), (3, 0, 2, 1)] {
        let weight = Weight::random(random, "c.weight", &[2, 3, 4]);
        let bias = Weight::random(random, "c.bias", &[3]);
        // One entry: candle mixes the entries of a batch up here.
        let (x, candle) = input(random, &[1, 2, 7], 1.0);
        let layer = json!([{"type": "conv_transpose1d", "name": "c", "in": 2, "out": 3,
            "kernel": 4, "stride": stride, "padding": padding, "dilation": dilation,
            "output_padding": output_padding}]);
        let ours = model("float32", &[2, 7], &layer, &[&weight, &bias]);
        let config = ConvTranspose1dConfig { padding, output_padding, stride, dilation, groups: 1 };
        let conv = ConvTranspose1d::new(weight.candle(), Some(bias.candle()), config);
        same("conv_transpose1d", &ours, x, &conv.forward(&candle).unwrap());

        let weight = Weight::random(random, "c.weight", &[2, 3, 4, 4]);
        let (x, candle) = input(random, &[2, 2, 5, 6], 1.0);
        let layer = json!([{"type": "conv_transpose2d", "name": "c", "in": 2, "out": 3,
            "kernel": 4, "stride": stride, "padding": padding, "dilation": dilation,
            "output_padding": output_padding, "bias": false}]);
        let ours = model("float32", &[2, 5, 6], &layer, &[&weight]);
        let config = ConvTranspose2dConfig { padding, output_padding, stride, dilation };
        let conv = ConvTranspose2d::new(weight.candle(), None, config);
        same("conv_transpose2d", &ours, x, &conv.forward(&candle).unwrap());
    }
}

#[test]
fn batch_norm_and_group_norm() {
    let random = &mut Random::new(43);
    let size = 6;
    let weight = Weight::random(random, "n.weight", &[size]);
    let bias = Weight::random(random, "n.bias", &[size]);
    let mean = Weight::random(random, "n.running_mean", &[size]);
    let variance = Weight::positive(random, "n.running_var", &[size]);
    let (x, candle) = input(random, &[3, size, 4, 5], 2.0);
    let layer = json!([{"type": "batch_norm", "name": "n", "size": size}]);
    let ours = model("float32", &[size, 4, 5], &layer, &[&weight, &bias, &mean, &variance]);
    let norm = BatchNorm::new(
        size,
        mean.candle(),
        variance.candle(),
        weight.candle(),
        bias.candle(),
        1e-5,
    )
    .unwrap();
    same("batch_norm", &ours, x.clone(), &norm.forward_t(&candle, false).unwrap());

    let layer = json!([{"type": "group_norm", "name": "n", "size": size, "groups": 3}]);
    let ours = model("float32", &[size, 4, 5], &layer, &[&weight, &bias]);
    let norm = GroupNorm::new(weight.candle(), bias.candle(), size, 3, 1e-5).unwrap();
    same("group_norm", &ours, x, &norm.forward(&candle).unwrap());
}

/// A function of one window along one axis, over windows that are given as ranges.
fn pooled(x: &[f32], windows: &[Vec<usize>], mean: Option<usize>) -> Vec<f64> {
    let pick =
        |window: &Vec<usize>| -> Vec<f64> { window.iter().map(|&i| f64::from(x[i])).collect() };
    let one = |window: &Vec<usize>| match mean {
        None => pick(window).into_iter().fold(f64::MIN, f64::max),
        Some(0) => pick(window).into_iter().sum::<f64>() / window.len() as f64,
        Some(n) => pick(window).into_iter().sum::<f64>() / n as f64,
    };
    windows.iter().map(one).collect()
}

#[test]
fn pooling() {
    let x = [3.0f32, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0];
    let tensor = modelserve::tensor::Tensor::from_vec(&[1, 1, 7], x.to_vec()).unwrap();
    let ranges = |all: &[std::ops::Range<usize>]| -> Vec<Vec<usize>> {
        all.iter().map(|r| r.clone().collect()).collect()
    };
    // Windows by hand: where they lie in the seven numbers.
    let cases = [
        (json!({"type": "max_pool1d", "kernel": 3}), ranges(&[0..3, 3..6]), None),
        (
            json!({"type": "max_pool1d", "kernel": 3, "ceil_mode": true}),
            ranges(&[0..3, 3..6, 6..7]),
            None,
        ),
        (
            json!({"type": "max_pool1d", "kernel": 3, "stride": 2, "padding": 1}),
            ranges(&[0..2, 1..4, 3..6, 5..7]),
            None,
        ),
        (
            json!({"type": "max_pool1d", "kernel": 2, "stride": 2, "dilation": 3}),
            vec![vec![0, 3], vec![2, 5]],
            None,
        ),
        (json!({"type": "avg_pool1d", "kernel": 2}), ranges(&[0..2, 2..4, 4..6]), Some(0)),
        // PyTorch counts the padding unless it is told not to.
        (
            json!({"type": "avg_pool1d", "kernel": 3, "stride": 3, "padding": 1}),
            ranges(&[0..2, 2..5, 5..7]),
            Some(3),
        ),
        (
            json!({"type": "avg_pool1d", "kernel": 3, "stride": 3, "padding": 1,
                   "count_include_pad": false}),
            ranges(&[0..2, 2..5, 5..7]),
            Some(0),
        ),
        // From floor(i · 7 / 3) to ceil((i + 1) · 7 / 3).
        (json!({"type": "adaptive_avg_pool1d", "size": 3}), ranges(&[0..3, 2..5, 4..7]), Some(0)),
        (
            json!({"type": "adaptive_max_pool1d", "size": 7}),
            ranges(&[0..1, 1..2, 2..3, 3..4, 4..5, 5..6, 6..7]),
            None,
        ),
        (json!({"type": "global_avg_pool"}), ranges(std::slice::from_ref(&(0..7))), Some(0)),
        (json!({"type": "global_max_pool"}), ranges(std::slice::from_ref(&(0..7))), None),
        (
            json!({"type": "adaptive_avg_pool1d", "size": 1}),
            ranges(std::slice::from_ref(&(0..7))),
            Some(0),
        ),
    ];
    for (layer, windows, mean) in cases {
        let what = layer.to_string();
        let ours = model("float32", &[1, 7], &json!([layer]), &[]);
        let got = run(&ours, &[("x", tensor.clone())]);
        let want = pooled(&x, &windows, mean);
        nearly(&what, &got[0].1, &[1, 1, want.len()], &want, 1e-6);
    }
}

#[test]
fn pooling_of_images() {
    let random = &mut Random::new(44);
    let (x, candle) = input(random, &[2, 3, 6, 9], 1.0);
    let of = |layer: serde_json::Value| model("float32", &[3, 6, 9], &json!([layer]), &[]);
    let ours = of(json!({"type": "max_pool2d", "kernel": [2, 3]}));
    same("max_pool2d", &ours, x.clone(), &candle.max_pool2d((2, 3)).unwrap());
    let ours = of(json!({"type": "avg_pool2d", "kernel": [3, 2], "stride": [1, 2]}));
    let want = candle.avg_pool2d_with_stride((3, 2), (1, 2)).unwrap();
    same("avg_pool2d", &ours, x.clone(), &want);
    let ours = of(json!({"type": "adaptive_avg_pool2d", "size": [3, 3]}));
    same("adaptive_avg_pool2d", &ours, x.clone(), &candle.avg_pool2d((2, 3)).unwrap());
    let ours = of(json!({"type": "adaptive_max_pool2d", "size": [2, 3]}));
    same("adaptive_max_pool2d", &ours, x.clone(), &candle.max_pool2d((3, 3)).unwrap());

    // Windows of two sizes on both axes.
    let ours = of(json!({"type": "adaptive_avg_pool2d", "size": [4, 2]}));
    let got = run(&ours, &[("x", x.clone())]);
    let numbers = x.as_slice::<f32>().unwrap();
    let window = |i: usize, n: usize, out: usize| i * n / out..((i + 1) * n).div_ceil(out);
    let mut want = Vec::new();
    for plane in numbers.chunks(54) {
        for i in 0..4 {
            for j in 0..2 {
                let (rows, columns) = (window(i, 6, 4), window(j, 9, 2));
                let count = (rows.len() * columns.len()) as f64;
                let sum: f64 = rows
                    .flat_map(|r| columns.clone().map(move |c| f64::from(plane[r * 9 + c])))
                    .sum();
                want.push(sum / count);
            }
        }
    }
    nearly("adaptive means", &got[0].1, &[2, 3, 4, 2], &want, 1e-5);
}
