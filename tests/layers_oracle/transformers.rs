//! Attention and the transformer's encoder layer against plain loops.

use super::common::random::Random;
use super::plain::{Rows, add, attention, flat, gelu, layer_norm, linear, map, rows};
use super::{Weight, input, model_of, nearly, run};
use modelserve::tensor::Tensor;
use serde_json::{Value as Json, json};

const SIZE: usize = 6;
const INNER: usize = 10;
const HEADS: usize = 2;

fn weights(random: &mut Random, prefix: &str) -> Vec<Weight> {
    let mut all = vec![
        Weight::random(random, format!("{prefix}in_proj_weight"), &[3 * SIZE, SIZE]),
        Weight::random(random, format!("{prefix}in_proj_bias"), &[3 * SIZE]),
        Weight::random(random, format!("{prefix}out_proj.weight"), &[SIZE, SIZE]),
        Weight::random(random, format!("{prefix}out_proj.bias"), &[SIZE]),
    ];
    if let Some(layer) = prefix.strip_suffix("self_attn.") {
        for (name, dims) in [
            ("linear1.weight", vec![INNER, SIZE]),
            ("linear1.bias", vec![INNER]),
            ("linear2.weight", vec![SIZE, INNER]),
            ("linear2.bias", vec![SIZE]),
        ] {
            all.push(Weight::random(random, format!("{layer}{name}"), &dims));
        }
        for norm in ["norm1", "norm2"] {
            all.push(Weight::positive(random, format!("{layer}{norm}.weight"), &[SIZE]));
            all.push(Weight::random(random, format!("{layer}{norm}.bias"), &[SIZE]));
        }
    }
    all
}

/// PyTorch's `MultiheadAttention` over one sequence.
fn attended(
    x: &Rows,
    memory: &Rows,
    weights: &[Weight],
    sees: impl Fn(usize, usize) -> bool,
) -> Rows {
    let part = |x: &Rows, i: usize| linear(x, &weights[0], Some(&weights[1]), i * SIZE, SIZE);
    let y = attention(&part(x, 0), &part(memory, 1), &part(memory, 2), HEADS, sees);
    linear(&y, &weights[2], Some(&weights[3]), 0, SIZE)
}

fn ours(layer: Json, inputs: &[Json], weights: &[Weight]) -> modelserve::GraphModel {
    let config = json!({
        "format": "modelserve-layers", "version": 1, "inputs": inputs, "layers": [layer],
    });
    model_of(&config, weights)
}

#[test]
fn multihead_attention_with_each_mask() {
    let random = &mut Random::new(21);
    let weights = weights(random, "a.");
    let steps = 5;
    let x = json!({"name": "x", "shape": ["batch", "steps", SIZE]});
    let (tensor, _) = input(random, &[2, steps, SIZE], 1.0);
    // The second sequence ends after three steps.
    let real: Vec<i64> = vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 0];
    let sequences: Vec<Rows> =
        tensor.as_slice::<f32>().unwrap().chunks(steps * SIZE).map(|s| rows(s, SIZE)).collect();
    for (key, causal) in
        [("", false), ("", true), ("mask", false), ("mask", true), ("key_padding_mask", false)]
    {
        let mut layer = json!({
            "type": "multihead_attention", "name": "a", "size": SIZE, "heads": HEADS,
            "causal": causal,
        });
        let mut inputs = vec![x.clone()];
        let mut given = vec![("x", tensor.clone())];
        if !key.is_empty() {
            layer[key] = json!("m");
            let dtype = if key == "mask" { "int64" } else { "bool" };
            inputs.push(json!({"name": "m", "dtype": dtype, "shape": ["batch", "steps"]}));
            let mask = match key {
                "mask" => Tensor::from_vec(&[2, steps], real.clone()),
                _ => Tensor::from_vec(&[2, steps], real.iter().map(|&r| r == 0).collect()),
            };
            given.push(("m", mask.unwrap()));
        }
        let got = run(&ours(layer, &inputs, &weights), &given);
        let want: Vec<Rows> = sequences
            .iter()
            .enumerate()
            .map(|(b, x)| {
                attended(x, x, &weights, |i, j| {
                    (!causal || j <= i) && (key.is_empty() || real[b * steps + j] == 1)
                })
            })
            .collect();
        let what = format!("attention {key} {causal}");
        nearly(&what, &got[0].1, &[2, steps, SIZE], &flat(&want), 1e-5);
    }
}

#[test]
fn attention_to_another_sequence() {
    let random = &mut Random::new(22);
    let weights = weights(random, "a.");
    let inputs = [
        json!({"name": "x", "shape": ["batch", 3, SIZE]}),
        json!({"name": "memory", "shape": ["batch", 4, SIZE]}),
    ];
    let layer = json!({
        "type": "multihead_attention", "name": "a", "size": SIZE, "heads": HEADS,
        "with": "memory",
    });
    let (x, _) = input(random, &[1, 3, SIZE], 1.0);
    let (memory, _) = input(random, &[1, 4, SIZE], 1.0);
    let got = run(&ours(layer, &inputs, &weights), &[("x", x.clone()), ("memory", memory.clone())]);
    let of = |t: &Tensor| rows(t.as_slice::<f32>().unwrap(), SIZE);
    let want = attended(&of(&x), &of(&memory), &weights, |_, _| true);
    nearly("cross", &got[0].1, &[1, 3, SIZE], &flat([&want]), 1e-5);
}

#[test]
fn encoder_layers_of_both_orders() {
    for (norm_first, activation) in [(false, "relu"), (true, "gelu")] {
        let random = &mut Random::new(23);
        let all = weights(random, "e.self_attn.");
        let layer = json!({
            "type": "transformer_encoder_layer", "name": "e", "size": SIZE, "heads": HEADS,
            "feed_forward": INNER, "activation": activation, "norm_first": norm_first,
            "eps": 1e-5,
        });
        let inputs = [json!({"name": "x", "shape": ["batch", 4, SIZE]})];
        let (tensor, _) = input(random, &[1, 4, SIZE], 0.5);
        let got = run(&ours(layer, &inputs, &all), &[("x", tensor.clone())]);
        let x = rows(tensor.as_slice::<f32>().unwrap(), SIZE);
        let [_, _, _, _, w1, b1, w2, b2, g1, h1, g2, h2] = all.as_slice() else { panic!() };
        let forward = |x: &Rows| {
            let y = linear(x, w1, Some(b1), 0, INNER);
            let y = map(&y, |v| if activation == "gelu" { gelu(v) } else { v.max(0.0) });
            linear(&y, w2, Some(b2), 0, SIZE)
        };
        let attend = |x: &Rows| attended(x, x, &all[..4], |_, _| true);
        let want = if norm_first {
            let x = add(&x, &attend(&layer_norm(&x, g1, h1, 1e-5)));
            add(&x, &forward(&layer_norm(&x, g2, h2, 1e-5)))
        } else {
            let x = layer_norm(&add(&x, &attend(&x)), g1, h1, 1e-5);
            layer_norm(&add(&x, &forward(&x)), g2, h2, 1e-5)
        };
        nearly(activation, &got[0].1, &[1, 4, SIZE], &flat([&want]), 1e-4);
    }
}
