//! LinearAttention and CausalConvWithState.

use super::{assert_near, wave};
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Data, Tensor, Value};
use half::f16;

fn run(op: &Op, inputs: &[Option<&Tensor>]) -> crate::error::Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
    op.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
}

/// Two samples of five tokens, four heads of queries, two of keys of 3 and values of 2: the
/// recurrence as the specification writes it, results and states.
fn recurrence(inputs: &[Option<&Tensor>], decays: usize, scale: f64) -> (Vec<f64>, Vec<f64>) {
    let read = |i: usize| inputs[i].map(|x: &Tensor| x.to_f64_vec().unwrap());
    let [q, k, v] = [0, 1, 2].map(|i| read(i).unwrap());
    let (decay, rate) = (read(4), read(5));
    let mut state = read(3).unwrap_or(vec![0.0; 2 * 2 * 6]);
    let mut y = vec![0.0; 2 * 5 * 8];
    for (b, token) in (0..2).flat_map(|b| (0..5).map(move |i| (b, i))) {
        let at = b * 5 + token;
        for h in 0..2 {
            let s = &mut state[(b * 2 + h) * 6..][..6];
            let k = &k[(at * 2 + h) * 3..][..3];
            let v = &v[(at * 2 + h) * 2..][..2];
            for d in 0..3 {
                let g = decay
                    .as_ref()
                    .map_or(0.0, |g| g[at * decays + if decays == 2 { h } else { h * 3 + d }]);
                for c in 0..2 {
                    s[d * 2 + c] *= g.exp();
                }
            }
            for c in 0..2 {
                let known: f64 = (0..3).map(|d| s[d * 2 + c] * k[d]).sum();
                let change = match &rate {
                    Some(rate) => rate[at * 2 + h] * (v[c] - known),
                    None => v[c],
                };
                for d in 0..3 {
                    s[d * 2 + c] += k[d] * change;
                }
            }
            for g in 0..2 {
                for c in 0..2 {
                    let q = &q[(at * 4 + h * 2 + g) * 3..][..3];
                    let dot: f64 = (0..3).map(|d| q[d] * s[d * 2 + c]).sum();
                    y[(at * 4 + h * 2 + g) * 2 + c] = scale * dot;
                }
            }
        }
    }
    (y, state)
}

fn linear(rule: &str) -> Op {
    let op = Op::onnx("LinearAttention", 27).string("update_rule", rule).outputs(2);
    op.int("q_num_heads", 4).int("kv_num_heads", 2)
}

#[test]
fn the_state_is_carried_by_each_rule() {
    let (q, k, v) = (wave(&[2, 5, 12], 1), wave(&[2, 5, 6], 2), wave(&[2, 5, 4], 3));
    let (past, rate) = (wave(&[2, 2, 3, 2], 4), wave(&[2, 5, 2], 5));
    let (by_head, by_key) = (wave(&[2, 5, 2], 6), wave(&[2, 5, 6], 7));
    let default = 1.0 / 3f64.sqrt();
    let cases = [
        ("linear", None, None),
        ("gated", Some(&by_head), None),
        ("gated", Some(&by_key), None),
        ("delta", None, Some(&rate)),
        ("gated_delta", Some(&by_head), Some(&rate)),
        ("gated_delta", Some(&by_key), Some(&rate)),
    ];
    for (rule, decay, rate) in cases {
        for past in [None, Some(&past)] {
            let inputs = [Some(&q), Some(&k), Some(&v), past, decay, rate];
            let decays = decay.map_or(1, |d| d.dims()[2]);
            let (y, state) = recurrence(&inputs, decays, default);
            let out = run(&linear(rule), &inputs).unwrap();
            assert_eq!(out[0].dims(), [2, 5, 8]);
            assert_eq!(out[1].dims(), [2, 2, 3, 2]);
            assert_near(&out[0], &y, 1e-5);
            assert_near(&out[1], &state, 1e-5);
            let (y, _) = recurrence(&inputs, decays, 0.25);
            let out = run(&linear(rule).float("scale", 0.25), &inputs).unwrap();
            assert_near(&out[0], &y, 1e-5);
        }
    }
    let wrong = [
        ("gated", [None, None]),
        ("delta", [None, None]),
        ("linear", [Some(&by_head), None]),
        ("other", [None, None]),
    ];
    for (rule, [decay, rate]) in wrong {
        let inputs = [Some(&q), Some(&k), Some(&v), None, decay, rate];
        assert!(run(&linear(rule), &inputs).is_err(), "{rule}");
    }
    let three = wave(&[2, 5, 3], 1);
    let inputs = [Some(&q), Some(&k), Some(&v), None, Some(&three), None];
    assert!(run(&linear("gated"), &inputs).is_err());
    assert!(linear("linear").run(&[q, k, wave(&[2, 4, 4], 3)]).is_err());
}

#[test]
fn one_rate_may_serve_all_heads_and_states_keep_their_type() {
    let (q, k, v) = (wave(&[2, 5, 12], 1), wave(&[2, 5, 6], 2), wave(&[2, 5, 4], 3));
    let one = wave(&[2, 5, 1], 5);
    let both: Vec<f32> = one.as_slice::<f32>().unwrap().iter().flat_map(|&r| [r, r]).collect();
    let both = t(&[2, 5, 2], &both);
    let out = |rate: &Tensor| {
        run(&linear("delta"), &[Some(&q), Some(&k), Some(&v), None, None, Some(rate)]).unwrap()
    };
    assert_eq!(out(&one), out(&both));
    let half = [&q, &k, &v].map(|x| {
        let v = x.as_slice::<f32>().unwrap().iter().map(|&x| f16::from_f32(x)).collect();
        Tensor::new(x.shape().clone(), Data::F16(v)).unwrap()
    });
    let past = wave(&[2, 2, 3, 2], 4);
    let inputs = [Some(&half[0]), Some(&half[1]), Some(&half[2]), Some(&past)];
    let out = run(&linear("linear"), &inputs).unwrap();
    assert!(matches!((out[0].data(), out[1].data()), (Data::F16(_), Data::F32(_))));
    let out = run(&linear("linear"), &inputs[..3]).unwrap();
    assert!(matches!((out[0].data(), out[1].data()), (Data::F16(_), Data::F16(_))));
    // No tokens leave the state as it was.
    let none = [wave(&[2, 0, 12], 1), wave(&[2, 0, 6], 1), wave(&[2, 0, 4], 1)];
    let inputs = [Some(&none[0]), Some(&none[1]), Some(&none[2]), Some(&past)];
    let out = run(&linear("linear"), &inputs).unwrap();
    assert_eq!((out[0].dims(), &out[1]), (&[2, 0, 8][..], &past));
}

fn conv() -> Op {
    Op::onnx("CausalConvWithState", 27).outputs(2)
}

#[test]
fn a_channel_sees_what_came_before() {
    let x = t(&[1, 2, 4], &[1f32, 2., 3., 4., 5., 6., 7., 8.]);
    let w = t(&[2, 1, 3], &[1f32, 10., 100., 0., 1., -1.]);
    let out = conv().run(&[x.clone(), w.clone()]).unwrap();
    assert_eq!(out[0], t(&[1, 2, 4], &[100f32, 210., 321., 432., -5., -1., -1., -1.]));
    assert_eq!(out[1], t(&[1, 2, 2], &[3f32, 4., 7., 8.]));
    let (bias, past) = (t(&[2], &[0.5f32, -0.5]), t(&[1, 2, 2], &[8f32, 9., 1., 2.]));
    let out = conv().run(&[x.clone(), w.clone(), bias.clone(), past.clone()]).unwrap();
    assert_eq!(out[0], t(&[1, 2, 4], &[198.5f32, 219.5, 321.5, 432.5, -3.5, -1.5, -1.5, -1.5]));
    // Token by token the result is the same.
    let mut state = past;
    for i in 0..4 {
        let token = t(&[1, 2, 1], &[i as f32 + 1.0, i as f32 + 5.0]);
        let one = conv().run(&[token, w.clone(), bias.clone(), state]).unwrap();
        let all = out[0].as_slice::<f32>().unwrap();
        assert_eq!(one[0].as_slice::<f32>().unwrap(), [all[i], all[4 + i]]);
        state = one[1].clone();
    }
    assert_eq!(state, out[1]);
    // x·sigmoid(x)
    let small = t(&[1, 1, 2], &[1f32, -2.]);
    let swish = conv().string("activation", "silu");
    let out = swish.run(&[small.clone(), t(&[1, 1, 1], &[1f32])]).unwrap();
    assert_close(&out[0], &t(&[1, 1, 2], &[0.731_058_6f32, -0.238_405_84]));
    assert_eq!(out[1].dims(), [1, 1, 0]);
    assert!(conv().string("activation", "relu").run(&[small.clone(), w.clone()]).is_err());
    assert!(conv().run(&[small.clone(), w.clone()]).is_err());
    assert!(conv().run(&[x.clone(), t(&[2, 1, 0], &[0f32; 0])]).is_err());
    assert!(conv().run(&[x.clone(), w.clone(), t(&[1], &[1f32])]).is_err());
    let half = t(&[1, 1, 2], &[f16::from_f32(1.0), f16::from_f32(-2.0)]);
    let out = conv().run(&[half.clone(), t(&[1, 1, 2], &[f16::from_f32(0.5); 2])]).unwrap();
    assert_eq!(out[0], t(&[1, 1, 2], &[f16::from_f32(0.5), f16::from_f32(-0.5)]));
    assert_eq!(out[1], t(&[1, 1, 1], &[f16::from_f32(-2.0)]));
    assert!(conv().run(&[half, w]).is_err());
}

#[test]
fn channels_on_threads_are_the_same() {
    let inputs = [wave(&[3, 70, 90], 1), wave(&[70, 1, 4], 2), wave(&[70], 3)];
    let out = conv().run(&inputs).unwrap();
    assert_eq!(conv().threads(3).run(&inputs).unwrap(), out);
}
