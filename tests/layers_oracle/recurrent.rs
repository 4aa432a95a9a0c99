//! RNN, GRU and LSTM against PyTorch's formulas in plain loops.

use super::common::random::Random;
use super::plain::sigmoid;
use super::{Weight, input, model_of, nearly, run};
use modelserve::tensor::Tensor;
use serde_json::json;

const IN: usize = 3;
const HIDDEN: usize = 4;

/// The four tensors of one direction of one layer.
struct Direction {
    weights: [Weight; 4],
    inputs: usize,
}

impl Direction {
    fn random(random: &mut Random, gates: usize, inputs: usize, suffix: &str) -> Direction {
        let rows = gates * HIDDEN;
        let weights = [
            Weight::random(random, format!("r.weight_ih{suffix}"), &[rows, inputs]),
            Weight::random(random, format!("r.weight_hh{suffix}"), &[rows, HIDDEN]),
            Weight::random(random, format!("r.bias_ih{suffix}"), &[rows]),
            Weight::random(random, format!("r.bias_hh{suffix}"), &[rows]),
        ];
        Direction { weights, inputs }
    }

    /// `W · x + b` of one gate's row, for the input (0) or the state (1).
    fn part(&self, which: usize, row: usize, x: &[f64]) -> f64 {
        let (weight, bias) = (&self.weights[which].values, &self.weights[which + 2].values);
        let weight = &weight[row * x.len()..(row + 1) * x.len()];
        let sum: f64 = weight.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
        sum + f64::from(bias[row])
    }

    fn step(&self, kind: &str, x: &[f64], h: &mut [f64], c: &mut [f64]) {
        assert_eq!(x.len(), self.inputs);
        let before = h.to_vec();
        let sum = |gate: usize, j: usize| {
            let row = gate * HIDDEN + j;
            self.part(0, row, x) + self.part(1, row, &before)
        };
        for j in 0..HIDDEN {
            h[j] = match kind {
                "rnn" => sum(0, j).tanh(),
                "rnn_relu" => sum(0, j).max(0.0),
                "gru" => {
                    let (reset, update) = (sigmoid(sum(0, j)), sigmoid(sum(1, j)));
                    let row = 2 * HIDDEN + j;
                    let new = self.part(0, row, x) + reset * self.part(1, row, &before);
                    (1.0 - update) * new.tanh() + update * before[j]
                }
                _ => {
                    let (enter, forget) = (sigmoid(sum(0, j)), sigmoid(sum(1, j)));
                    let (new, out) = (sum(2, j).tanh(), sigmoid(sum(3, j)));
                    c[j] = forget * c[j] + enter * new;
                    out * c[j].tanh()
                }
            };
        }
    }
}

fn gates(kind: &str) -> usize {
    match kind {
        "rnn" | "rnn_relu" => 1,
        "gru" => 3,
        _ => 4,
    }
}

/// The last states of one direction.
type Ends = (Vec<f64>, Vec<f64>);

/// One layer over a sequence: what it answers at each step, and its last states.
fn layer(
    kind: &str,
    directions: &[Direction],
    steps: &[Vec<f64>],
    begin: &[Ends],
) -> (Vec<Vec<f64>>, Vec<Ends>) {
    let mut out = vec![Vec::new(); steps.len()];
    let mut ends = Vec::new();
    for (i, direction) in directions.iter().enumerate() {
        let (mut h, mut c) = begin[i].clone();
        let mut order: Vec<usize> = (0..steps.len()).collect();
        if i == 1 {
            order.reverse();
        }
        let mut answers = vec![Vec::new(); steps.len()];
        for t in order {
            direction.step(kind, &steps[t], &mut h, &mut c);
            answers[t].clone_from(&h);
        }
        for (out, answer) in out.iter_mut().zip(answers) {
            out.extend(answer);
        }
        ends.push((h, c));
    }
    (out, ends)
}

fn check(kind: &str, layers: usize, bidirectional: bool, batch_first: bool, with_state: bool) {
    let what = format!("{kind} {layers} {bidirectional} {batch_first} {with_state}");
    let random = &mut Random::new(11);
    let directions = if bidirectional { 2 } else { 1 };
    let stack: Vec<Vec<Direction>> = (0..layers)
        .map(|l| {
            let inputs = if l == 0 { IN } else { HIDDEN * directions };
            ["", "_reverse"][..directions]
                .iter()
                .map(|end| Direction::random(random, gates(kind), inputs, &format!("_l{l}{end}")))
                .collect()
        })
        .collect();
    let (steps, batch) = (5, 2);
    let lstm = kind == "lstm";
    let (shape, dims) = if batch_first {
        (json!(["batch", steps, IN]), [batch, steps, IN])
    } else {
        (json!([steps, "batch", IN]), [steps, batch, IN])
    };
    let mut inputs = vec![json!({
        "name": "x", "shape": shape, "batch_axis": if batch_first { 0 } else { 1 },
    })];
    let mut layer_json = json!({
        "type": if kind == "rnn_relu" { "rnn" } else { kind }, "name": "r", "in": IN,
        "hidden": HIDDEN, "layers": layers, "bidirectional": bidirectional,
        "batch_first": batch_first,
    });
    if kind == "rnn_relu" {
        layer_json["nonlinearity"] = json!("relu");
    }
    let mut outputs = vec![json!({"name": "y", "from": "y"})];
    layer_json["as"] = json!("y");
    let state_names: &[&str] = if lstm { &["h", "c"] } else { &["h"] };
    if with_state {
        for name in state_names {
            let shape = json!([layers * directions, "batch", HIDDEN]);
            inputs.push(json!({"name": name, "shape": shape, "batch_axis": 1}));
            let last = format!("{name}_n");
            outputs.push(json!({"name": format!("{name}_last"), "from": last}));
        }
        let one = |ending: &str| match state_names {
            [one] => json!(format!("{one}{ending}")),
            all => json!(all.iter().map(|n| format!("{n}{ending}")).collect::<Vec<_>>()),
        };
        layer_json["state"] = one("");
        layer_json["state_as"] = one("_n");
    }
    let config = json!({
        "format": "modelserve-layers", "version": 1, "inputs": inputs, "layers": [layer_json],
        "outputs": outputs,
    });
    let weights = stack.iter().flatten().flat_map(|d| &d.weights);
    let ours = model_of(&config, weights);

    let (x, _) = input(random, &dims, 1.0);
    let state_dims = [layers * directions, batch, HIDDEN];
    let states: Vec<Tensor> =
        state_names.iter().map(|_| input(random, &state_dims, 1.0).0).collect();
    let mut given = vec![("x", x.clone())];
    if with_state {
        given.extend(state_names.iter().copied().zip(states.iter().cloned()));
    }
    let got = run(&ours, &given);

    let numbers = x.as_slice::<f32>().unwrap();
    let width = HIDDEN * directions;
    let mut want = vec![0.0; steps * batch * width];
    let mut want_states = vec![vec![0.0; layers * directions * batch * HIDDEN]; 2];
    for row in 0..batch {
        let place = |t: usize| if batch_first { row * steps + t } else { t * batch + row };
        let mut sequence: Vec<Vec<f64>> = (0..steps)
            .map(|t| {
                let from = place(t) * IN;
                numbers[from..from + IN].iter().map(|&v| f64::from(v)).collect()
            })
            .collect();
        for (l, directions_of) in stack.iter().enumerate() {
            let begin: Vec<(Vec<f64>, Vec<f64>)> = (0..directions)
                .map(|d| {
                    let from = ((l * directions + d) * batch + row) * HIDDEN;
                    let state = |i: usize| match states.get(i).filter(|_| with_state) {
                        None => vec![0.0; HIDDEN],
                        Some(state) => state.as_slice::<f32>().unwrap()[from..from + HIDDEN]
                            .iter()
                            .map(|&v| f64::from(v))
                            .collect(),
                    };
                    (state(0), state(1))
                })
                .collect();
            let (out, ends) = layer(kind, directions_of, &sequence, &begin);
            sequence = out;
            for (d, (h, c)) in ends.iter().enumerate() {
                let from = ((l * directions + d) * batch + row) * HIDDEN;
                want_states[0][from..from + HIDDEN].copy_from_slice(h);
                want_states[1][from..from + HIDDEN].copy_from_slice(c);
            }
        }
        for (t, answer) in sequence.iter().enumerate() {
            let from = place(t) * width;
            want[from..from + width].copy_from_slice(answer);
        }
    }
    let dims = [dims[0], dims[1], width];
    nearly(&what, &got[0].1, &dims, &want, 1e-5);
    if with_state {
        assert_eq!(got.len(), 1 + state_names.len(), "{what}");
        for (state, want) in got[1..].iter().zip(&want_states) {
            nearly(&what, &state.1, &state_dims, want, 1e-5);
        }
    }
}

#[test]
fn sequences_of_every_kind() {
    for kind in ["rnn", "rnn_relu", "gru", "lstm"] {
        check(kind, 1, false, true, false);
        check(kind, 1, false, false, true);
        check(kind, 2, true, true, true);
        check(kind, 3, false, true, true);
    }
}

#[test]
fn an_lstm_projects_its_state() {
    const PROJ: usize = 2;
    let random = &mut Random::new(13);
    // Two layers of two directions; weights of the input, of the state, biases, the projection.
    let stack: Vec<Vec<[Weight; 5]>> = (0..2)
        .map(|l| {
            let inputs = if l == 0 { IN } else { 2 * PROJ };
            let direction = |end: &str| {
                let name = |part: &str| format!("r.{part}_l{l}{end}");
                [
                    Weight::random(random, name("weight_ih"), &[4 * HIDDEN, inputs]),
                    Weight::random(random, name("weight_hh"), &[4 * HIDDEN, PROJ]),
                    Weight::random(random, name("bias_ih"), &[4 * HIDDEN]),
                    Weight::random(random, name("bias_hh"), &[4 * HIDDEN]),
                    Weight::random(random, name("weight_hr"), &[PROJ, HIDDEN]),
                ]
            };
            ["", "_reverse"].map(direction).into_iter().collect()
        })
        .collect();
    let steps = 4;
    let config = json!({
        "format": "modelserve-layers", "version": 1,
        "inputs": [{"name": "x", "shape": ["batch", steps, IN]}],
        "layers": [{"type": "lstm", "name": "r", "in": IN, "hidden": HIDDEN, "proj": PROJ,
                    "layers": 2, "bidirectional": true, "state_as": ["h", "c"], "as": "y"}],
        "outputs": [{"name": "y", "from": "y"}, {"name": "h", "from": "h"},
                    {"name": "c", "from": "c"}],
    });
    let ours = model_of(&config, stack.iter().flatten().flatten());
    let (x, _) = input(random, &[1, steps, IN], 1.0);
    let got = run(&ours, &[("x", x.clone())]);

    let product = |weight: &Weight, row: usize, x: &[f64]| -> f64 {
        let weights = &weight.values[row * x.len()..(row + 1) * x.len()];
        weights.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
    };
    let numbers = x.as_slice::<f32>().unwrap();
    let mut sequence: Vec<Vec<f64>> =
        numbers.chunks(IN).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    let (mut want_h, mut want_c) = (vec![], vec![]);
    for directions in &stack {
        let mut out = vec![Vec::new(); steps];
        for (d, [ih, hh, input_bias, state_bias, hr]) in directions.iter().enumerate() {
            let (mut h, mut c) = (vec![0.0; PROJ], vec![0.0; HIDDEN]);
            for i in 0..steps {
                let t = if d == 0 { i } else { steps - 1 - i };
                let sum = |gate: usize, j: usize| {
                    let row = gate * HIDDEN + j;
                    product(ih, row, &sequence[t])
                        + product(hh, row, &h)
                        + f64::from(input_bias.values[row])
                        + f64::from(state_bias.values[row])
                };
                let whole: Vec<f64> = (0..HIDDEN)
                    .map(|j| {
                        c[j] = sigmoid(sum(1, j)) * c[j] + sigmoid(sum(0, j)) * sum(2, j).tanh();
                        sigmoid(sum(3, j)) * c[j].tanh()
                    })
                    .collect();
                h = (0..PROJ).map(|row| product(hr, row, &whole)).collect();
                out[t].extend_from_slice(&h);
            }
            want_h.extend(h);
            want_c.extend(c);
        }
        sequence = out;
    }
    nearly("projected", &got[0].1, &[1, steps, 2 * PROJ], &sequence.concat(), 1e-5);
    nearly("state", &got[1].1, &[4, 1, PROJ], &want_h, 1e-5);
    nearly("cell", &got[2].1, &[4, 1, HIDDEN], &want_c, 1e-5);
}

#[test]
fn cells_take_one_step() {
    for kind in ["rnn", "gru", "lstm"] {
        let random = &mut Random::new(12);
        let direction = Direction::random(random, gates(kind), IN, "");
        let lstm = kind == "lstm";
        let names: &[&str] = if lstm { &["h", "c"] } else { &["h"] };
        let ends: Vec<String> = names.iter().map(|n| format!("{n}_n")).collect();
        let mut inputs = vec![json!({"name": "x", "shape": ["batch", IN]})];
        inputs.extend(names.iter().map(|n| json!({"name": n, "shape": ["batch", HIDDEN]})));
        let outputs: Vec<_> = ends.iter().map(|n| json!({"name": n, "from": n})).collect();
        let config = json!({
            "format": "modelserve-layers", "version": 1, "inputs": inputs,
            "layers": [{"type": format!("{kind}_cell"), "name": "r", "in": IN, "hidden": HIDDEN,
                        "state": names, "state_as": ends}],
            "outputs": outputs,
        });
        let ours = model_of(&config, &direction.weights);
        let (x, _) = input(random, &[2, IN], 1.0);
        let states: Vec<Tensor> =
            names.iter().map(|_| input(random, &[2, HIDDEN], 1.0).0).collect();
        let mut given = vec![("x", x.clone())];
        given.extend(names.iter().copied().zip(states.iter().cloned()));
        let got = run(&ours, &given);
        let row = |t: &Tensor, i: usize, n: usize| -> Vec<f64> {
            t.as_slice::<f32>().unwrap()[i * n..(i + 1) * n].iter().map(|&v| v.into()).collect()
        };
        let mut want = [Vec::new(), Vec::new()];
        for i in 0..2 {
            let mut h = row(&states[0], i, HIDDEN);
            let mut c = states.get(1).map_or(vec![0.0; HIDDEN], |c| row(c, i, HIDDEN));
            direction.step(kind, &row(&x, i, IN), &mut h, &mut c);
            want[0].extend(h);
            want[1].extend(c);
        }
        for ((name, got), want) in got.iter().zip(&want) {
            nearly(&format!("{kind} {name}"), got, &[2, HIDDEN], want, 1e-5);
        }
    }
}
