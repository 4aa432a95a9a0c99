use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Tensor, Value};

/// The expected values are another runtime's.
fn check(op: &Op, inputs: &[Option<Value>], expected: &[Tensor]) {
    let out = op.run_values(inputs).unwrap();
    assert_eq!(out.len(), expected.len());
    for (got, expected) in out.iter().zip(expected) {
        assert_close(got.as_tensor().unwrap(), expected);
    }
}

#[test]
fn lstm() {
    check(
        &Op::onnx("LSTM", 14).string("direction", "bidirectional").int("hidden_size", 2).outputs(3),
        &[
            Some(
                t::<f32>(
                    &[3, 2, 2],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 8, 2],
                    &[
                        0.25, -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25,
                        -1.25, -1.0, -0.25, -1.0, 2.25, -1.5, 2.0, 1.5, 1.75, -1.75, -0.5, 0.5,
                        0.0, 0.75, 0.75, 0.75, -2.0, 2.25, 0.25, 2.0, -1.0,
                    ],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 8, 2],
                    &[
                        -0.75, 1.75, -1.5, -2.0, -0.5, 0.75, -1.75, 1.75, -0.75, -1.25, 0.25, 2.0,
                        1.75, 1.75, -1.0, -2.25, 1.25, 1.0, 1.25, -2.25, -2.25, 0.0, -0.75, -0.25,
                        2.0, -1.5, 0.25, -0.75, -1.0, 1.5, -1.75, -0.75,
                    ],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 16],
                    &[
                        -1.75, -1.75, -1.0, 1.0, 0.5, -0.25, -1.5, 1.5, 1.5, -1.25, -2.0, -0.75,
                        -1.75, 1.5, 0.0, 0.0, -1.0, 0.0, 2.25, -1.25, 1.25, -2.25, -1.0, 2.0, 1.75,
                        -2.0, 1.75, 1.75, -0.25, -0.75, 2.25, 2.25,
                    ],
                )
                .into(),
            ),
            Some(t::<i32>(&[2], &[3, 2]).into()),
            Some(t::<f32>(&[2, 2, 2], &[0.75, -0.5, -1.5, 2.0, -1.0, 0.25, 0.75, -1.25]).into()),
            Some(t::<f32>(&[2, 2, 2], &[-1.0, 1.25, -1.5, 0.75, 2.0, 0.75, 0.75, -0.25]).into()),
            Some(
                t::<f32>(
                    &[2, 6],
                    &[2.25, -1.25, -0.75, 0.75, 0.75, -1.75, -1.5, 1.0, 1.5, 0.75, 2.0, -0.5],
                )
                .into(),
            ),
        ],
        &[
            t::<f32>(
                &[3, 2, 2, 2],
                &[
                    -2.2e-05, 0.043445, -0.467128, 0.187478, 0.974042, 0.512983, -0.30238,
                    -0.022084, -0.034066, 0.078304, -0.090984, 0.005122, 0.969252, 0.061907,
                    0.596011, 0.300603, -0.028113, 1.7e-05, 0.0, 0.0, 0.953037, 0.564607, 0.0, 0.0,
                ],
            ),
            t::<f32>(
                &[2, 2, 2],
                &[-0.028113, 1.7e-05, -0.090984, 0.005122, 0.974042, 0.512983, -0.30238, -0.022084],
            ),
            t::<f32>(
                &[2, 2, 2],
                &[
                    -0.669044, 0.048193, -0.412404, 0.033295, 2.800935, 0.93961, -0.313678,
                    -0.097195,
                ],
            ),
        ],
    );
    check(
        &Op::onnx("LSTM", 14)
            .string("direction", "reverse")
            .int("hidden_size", 2)
            .float("clip", 0.5)
            .int("input_forget", 1)
            .outputs(3),
        &[
            Some(t::<f32>(&[3, 1, 2], &[-0.75, 1.5, -2.25, -1.5, -1.5, -0.5]).into()),
            Some(
                t::<f32>(
                    &[1, 8, 2],
                    &[
                        -1.75, 1.5, 1.75, -0.5, -2.25, 1.0, -1.75, 0.5, -1.5, 2.0, 0.75, 2.25, 0.5,
                        1.0, -0.5, 1.5,
                    ],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 8, 2],
                    &[
                        -1.75, -1.75, -0.75, 1.0, 0.0, 1.75, 2.0, -0.5, -0.25, 0.25, 0.75, 0.0,
                        0.5, 2.25, 1.0, -0.75,
                    ],
                )
                .into(),
            ),
        ],
        &[
            t::<f32>(&[3, 1, 1, 2], &[0.085388, 0.040941, -0.234502, -0.107511, -0.17427, 0.0]),
            t::<f32>(&[1, 1, 2], &[0.085388, 0.040941]),
            t::<f32>(&[1, 1, 2], &[0.138049, 0.065869]),
        ],
    );
}

#[test]
fn gru_and_rnn() {
    check(
        &Op::onnx("GRU", 14).int("hidden_size", 2).int("linear_before_reset", 1).outputs(2),
        &[
            Some(
                t::<f32>(
                    &[3, 2, 2],
                    &[-0.25, -0.5, -1.75, -2.25, 1.5, -0.5, -0.75, 0.5, 0.25, 2.0, 0.5, 2.0],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 6, 2],
                    &[0.25, -0.75, -0.75, 2.25, 0.5, -1.5, 1.5, 1.5, -2.25, -1.75, 1.0, -0.5],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 6, 2],
                    &[-0.75, -2.0, -1.5, 1.75, 1.5, 1.5, 0.25, -1.75, -0.75, 0.25, 2.25, -1.25],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 12],
                    &[0.25, 0.0, 0.0, 0.25, 1.0, -1.75, 2.25, 1.75, 1.25, -1.0, -0.25, -0.25],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[1, 2, 2], &[-1.0, -2.0, 1.25, -2.25]).into()),
        ],
        &[
            t::<f32>(
                &[3, 1, 2, 2],
                &[
                    -0.998969, -1.188783, 1.249833, -0.962161, -0.998785, -0.850204, 1.222765,
                    -0.502634, -0.998693, -0.850546, 0.713566, -0.454484,
                ],
            ),
            t::<f32>(&[1, 2, 2], &[-0.998693, -0.850546, 0.713566, -0.454484]),
        ],
    );
    check(
        &Op::onnx("GRU", 14)
            .int("hidden_size", 2)
            .strings("activations", &["HardSigmoid", "Softsign"])
            .outputs(2),
        &[
            Some(
                t::<f32>(
                    &[3, 2, 2],
                    &[1.25, -1.5, 0.75, -0.75, -1.25, 2.0, 0.0, 1.75, -1.5, 0.0, -0.75, -0.25],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 6, 2],
                    &[-2.25, 0.75, -0.75, 1.75, -1.25, -0.75, -2.25, 1.5, 0.25, -0.5, 2.0, 0.5],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 6, 2],
                    &[2.25, 1.25, 0.5, 0.0, -1.5, 1.0, 1.5, 1.0, -0.5, -2.25, 1.0, -2.25],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[1, 12],
                    &[1.5, -1.75, -1.0, -1.25, 0.25, -1.5, -1.25, -2.25, 2.25, -1.25, -1.5, 0.5],
                )
                .into(),
            ),
        ],
        &[
            t::<f32>(
                &[3, 1, 2, 2],
                &[
                    -0.157895, 0.428571, -0.366667, 0.111111, -0.157895, -0.090279, -0.468269,
                    -0.198036, -0.157895, -0.801354, -0.48547, -0.753485,
                ],
            ),
            t::<f32>(&[1, 2, 2], &[-0.157895, -0.801354, -0.48547, -0.753485]),
        ],
    );
    check(
        &Op::onnx("RNN", 14)
            .int("hidden_size", 2)
            .strings("activations", &["LeakyRelu"])
            .floats("activation_alpha", &[0.25])
            .outputs(2),
        &[
            Some(
                t::<f32>(
                    &[3, 2, 2],
                    &[-1.75, 1.75, 1.25, -0.75, -0.5, -0.75, 1.0, -0.5, -1.0, 0.75, -1.75, 1.25],
                )
                .into(),
            ),
            Some(t::<f32>(&[1, 2, 2], &[-0.25, 2.0, -1.25, -0.5]).into()),
            Some(t::<f32>(&[1, 2, 2], &[1.75, 1.0, -2.25, -0.75]).into()),
        ],
        &[
            t::<f32>(
                &[3, 1, 2, 2],
                &[
                    3.9375, 1.3125, -0.453125, -0.296875, 6.828125, -2.210938, -0.584961, 0.242188,
                    11.488281, -3.20752, 2.156006, 2.697021,
                ],
            ),
            t::<f32>(&[1, 2, 2], &[11.488281, -3.20752, 2.156006, 2.697021]),
        ],
    );
}

/// Numbers that look random, in [-1, 1].
fn wave(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let v: Vec<f32> =
        (0..n).map(|i| (((i + seed) * 7919 + seed) % 2003) as f32 / 1001.0 - 1.0).collect();
    t(dims, &v)
}

/// Swaps the first two axes.
fn swapped(x: &Tensor) -> Tensor {
    let (a, b, inner) = (x.dims()[0], x.dims()[1], x.len() / (x.dims()[0] * x.dims()[1]));
    let v = x.as_slice::<f32>().unwrap();
    let mut out = vec![];
    for j in 0..b {
        for i in 0..a {
            out.extend_from_slice(&v[(i * b + j) * inner..][..inner]);
        }
    }
    let mut dims = x.dims().to_vec();
    dims.swap(0, 1);
    t(&dims, &out)
}

#[test]
fn layouts_agree() {
    let (w, r) = (wave(&[2, 12, 3], 1), wave(&[2, 12, 4], 2));
    let x = wave(&[5, 2, 3], 3);
    let op = |layout| {
        Op::onnx("GRU", 14)
            .int("hidden_size", 4)
            .int("layout", layout)
            .string("direction", "bidirectional")
            .outputs(2)
    };
    let steps_first = op(0).run(&[x.clone(), w.clone(), r.clone()]).unwrap();
    let batch_first = op(1).constant(&[1, 2]).run(&[swapped(&x), w, r]).unwrap();
    assert_eq!(steps_first[0].dims(), [5, 2, 2, 4]);
    assert_eq!(batch_first[0].dims(), [2, 5, 2, 4]);
    assert_eq!(swapped(&steps_first[1]), batch_first[1]);
    // [steps, directions, batch, hidden] against [batch, steps, directions, hidden].
    let a = steps_first[0].as_slice::<f32>().unwrap();
    let b = batch_first[0].as_slice::<f32>().unwrap();
    for (i, &v) in a.iter().enumerate() {
        let (h, n, d, s) = (i % 4, i / 4 % 2, i / 8 % 2, i / 16);
        assert_eq!(v, b[((n * 5 + s) * 2 + d) * 4 + h]);
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_in_a_batch() {
    let (w, r) = (wave(&[1, 256, 600], 1), wave(&[1, 256, 64], 2));
    let x = wave(&[7, 6, 600], 3);
    let op = |n| Op::onnx("LSTM", 14).threads(n).outputs(3).constant(&[1, 2]);
    let all = op(2).run(&[x.clone(), w.clone(), r.clone()]).unwrap();
    let v = x.as_slice::<f32>().unwrap();
    let own: Vec<f32> = (0..7).flat_map(|s| v[(s * 6 + 4) * 600..][..600].to_vec()).collect();
    let one = op(1).run(&[t(&[7, 1, 600], &own), w, r]).unwrap();
    for i in [1, 2] {
        let all = all[i].as_slice::<f32>().unwrap();
        assert_eq!(one[i].as_slice::<f32>().unwrap(), &all[4 * 64..5 * 64]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, w, r) = (wave(&[2, 1, 3], 1), wave(&[1, 4, 3], 2), wave(&[1, 4, 4], 3));
    let op = || Op::onnx("RNN", 14);
    let kind = |op: Op, inputs: &[Tensor]| op.run(inputs).unwrap_err().kind();
    let inputs = [x.clone(), w.clone(), r.clone()];
    assert!(op().run(&inputs).is_ok());
    assert_eq!(kind(op().string("direction", "up"), &inputs), ErrorKind::InvalidModel);
    assert_eq!(kind(op().int("hidden_size", 5), &inputs), ErrorKind::InvalidInput);
    assert_eq!(kind(op().strings("activations", &["Swish"]), &inputs), ErrorKind::Unsupported);
    assert_eq!(
        kind(op().strings("activations", &["Tanh", "Tanh"]), &inputs),
        ErrorKind::InvalidModel
    );
    let wrong = [x.clone(), wave(&[1, 5, 3], 2), r.clone()];
    assert_eq!(kind(op().constant(&[1, 2]), &wrong), ErrorKind::InvalidModel);
    assert_eq!(kind(op(), &wrong), ErrorKind::InvalidInput);
    assert_eq!(kind(op(), &[wave(&[2, 1, 4], 1), w.clone(), r.clone()]), ErrorKind::InvalidInput);
    for lens in [3i32, -1] {
        let inputs = [&x, &w, &r].map(|t| Some(Value::from(t.clone())));
        let lens = Some(Value::from(t(&[1], &[lens])));
        let inputs = [&inputs[..], &[None, lens]].concat();
        assert_eq!(op().run_values(&inputs).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let none = op().run(&[t::<f32>(&[0, 2, 3], &[]), w, r]).unwrap();
    assert_eq!(none[0].dims(), [0, 1, 2, 4]);
}
