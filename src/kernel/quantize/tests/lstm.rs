use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Tensor, Value};

const STEPS: usize = 3;
const BATCH: usize = 2;
const INPUTS: usize = 2;
const HIDDEN: usize = 2;
const WIDE: usize = 4 * HIDDEN;
/// The second sequence is shorter.
const LENGTHS: [usize; BATCH] = [3, 2];

/// The weights of both directions, column scales and one zero point each.
struct Weights {
    w: Vec<u8>,
    r: Vec<i8>,
    w_scale: Vec<f32>,
    r_scale: Vec<f32>,
    w_zero: [u8; 2],
    bias: Vec<f32>,
    peepholes: Vec<f32>,
}

fn numbers(n: usize, seed: usize) -> impl Iterator<Item = f32> {
    (0..n).map(move |i| ((i * 37 + seed * 11) % 41) as f32 / 20.0 - 1.0)
}

fn weights() -> Weights {
    Weights {
        w: numbers(2 * INPUTS * WIDE, 1).map(|v| (128.0 + v * 100.0) as u8).collect(),
        r: numbers(2 * HIDDEN * WIDE, 2).map(|v| (v * 100.0) as i8).collect(),
        w_scale: numbers(2 * WIDE, 3).map(|v| 0.012 + v * 0.002).collect(),
        r_scale: numbers(2 * WIDE, 4).map(|v| 0.012 + v * 0.002).collect(),
        w_zero: [120, 130],
        bias: numbers(2 * 2 * WIDE, 5).collect(),
        peepholes: numbers(2 * 3 * HIDDEN, 6).collect(),
    }
}

/// The numbers rounded to 256 levels over their range, which holds zero.
fn through_levels(x: &[f32]) -> Vec<f32> {
    let low = x.iter().copied().fold(0f32, f32::min);
    let high = x.iter().copied().fold(0f32, f32::max);
    if low == high {
        return x.to_vec();
    }
    let scale = (high - low) / 255.0;
    let zero = (-low / scale).round_ties_even();
    let level = |x: f32| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0);
    x.iter().map(|&x| (level(x) - zero) * scale).collect()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// One direction by the equations of ONNX's LSTM: all hidden states, the last ones, the cells.
fn direction(d: usize, x: &[f32], weights: &Weights) -> [Vec<f32>; 3] {
    let x = through_levels(x);
    let mut all = vec![0f32; STEPS * BATCH * HIDDEN];
    let (mut hidden, mut cell) = (vec![0f32; BATCH * HIDDEN], vec![0f32; BATCH * HIDDEN]);
    for turn in 0..STEPS {
        let before = through_levels(&hidden);
        for b in 0..BATCH {
            if turn >= LENGTHS[b] {
                continue;
            }
            let step = if d == 1 { LENGTHS[b] - 1 - turn } else { turn };
            let gate = |gate: usize, i: usize| -> f32 {
                let column = gate * HIDDEN + i;
                let at = d * WIDE + column;
                let mut sum = weights.bias[d * 2 * WIDE + column]
                    + weights.bias[d * 2 * WIDE + WIDE + column];
                for k in 0..INPUTS {
                    let w = weights.w[(d * INPUTS + k) * WIDE + column];
                    let w = f32::from(i16::from(w) - i16::from(weights.w_zero[d]));
                    sum += x[(step * BATCH + b) * INPUTS + k] * w * weights.w_scale[at];
                }
                for k in 0..HIDDEN {
                    let r = f32::from(weights.r[(d * HIDDEN + k) * WIDE + column]);
                    sum += before[b * HIDDEN + k] * r * weights.r_scale[at];
                }
                sum
            };
            let peephole =
                |which: usize, i: usize| weights.peepholes[d * 3 * HIDDEN + which * HIDDEN + i];
            for i in 0..HIDDEN {
                let at = b * HIDDEN + i;
                let old = cell[at];
                let input = sigmoid(gate(0, i) + peephole(0, i) * old);
                let forget = sigmoid(gate(2, i) + peephole(2, i) * old);
                cell[at] = forget * old + input * gate(3, i).tanh();
                let output = sigmoid(gate(1, i) + peephole(1, i) * cell[at]);
                hidden[at] = output * cell[at].tanh();
                all[(step * BATCH + b) * HIDDEN + i] = hidden[at];
            }
        }
    }
    [all, hidden, cell]
}

#[test]
fn sequences_run_through_quantised_products() {
    let weights = weights();
    let x: Vec<f32> = numbers(STEPS * BATCH * INPUTS, 7).collect();
    let inputs: Vec<Option<Value>> = [
        Some(t(&[STEPS, BATCH, INPUTS], &x)),
        Some(t(&[2, INPUTS, WIDE], &weights.w)),
        Some(t(&[2, HIDDEN, WIDE], &weights.r)),
        Some(t(&[2, 2 * WIDE], &weights.bias)),
        Some(t(&[BATCH], &LENGTHS.map(|n| n as i32))),
        None,
        None,
        Some(t(&[2, 3 * HIDDEN], &weights.peepholes)),
        Some(t(&[2, WIDE], &weights.w_scale)),
        Some(t(&[2], &weights.w_zero)),
        Some(t(&[2, WIDE], &weights.r_scale)),
        Some(t(&[2, WIDE], &[0i8; 2 * WIDE])),
    ]
    .into_iter()
    .map(|t| t.map(Value::Tensor))
    .collect();
    let op = || {
        Op::new("com.microsoft", "DynamicQuantizeLSTM", 1)
            .string("direction", "bidirectional")
            .int("hidden_size", HIDDEN as i64)
            .outputs(3)
    };
    let results = [direction(0, &x, &weights), direction(1, &x, &weights)];
    let mut all = vec![];
    for step in 0..STEPS {
        let size = BATCH * HIDDEN;
        for result in &results {
            all.extend_from_slice(&result[0][step * size..(step + 1) * size]);
        }
    }
    let both = |i: usize| t(&[2, BATCH, HIDDEN], &[&results[0][i][..], &results[1][i]].concat());
    let expected = [t(&[STEPS, 2, BATCH, HIDDEN], &all), both(1), both(2)];
    for op in [op(), op().constant(&[1, 2, 9, 11])] {
        let out: Vec<Tensor> =
            op.run_values(&inputs).unwrap().into_iter().map(|v| v.into_tensor().unwrap()).collect();
        assert_eq!(out.len(), 3);
        for (out, expected) in out.iter().zip(&expected) {
            assert_close(out, expected);
        }
    }
    let wrong = op().string("direction", "forward");
    assert!(wrong.run_values(&inputs).is_err());
    let mut long = inputs.clone();
    long[4] = Some(Value::Tensor(t(&[BATCH], &[4i32, 1])));
    assert!(op().run_values(&long).is_err());
}
