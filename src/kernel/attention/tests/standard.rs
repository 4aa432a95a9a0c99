//! Attention of ai.onnx, SwiGLU.

use super::oracle::{Oracle, flat, plain, with};
use super::{assert_near, wave};
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Data, Tensor, Value};
use half::{bf16, f16};

const HIDDEN: f64 = f64::NEG_INFINITY;

fn attention() -> Op {
    Op::onnx("Attention", 23)
}

/// Runs with the named inputs left out where they are `None`.
fn run(op: &Op, inputs: &[Option<&Tensor>]) -> crate::error::Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
    op.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
}

#[test]
fn weights_are_the_softmax_of_products() {
    // Scores 1 and 0: weights 0.7310586 and 0.2689414.
    let (q, k) = (t(&[1, 1, 1, 2], &[1f32, 0.]), t(&[1, 1, 2, 2], &[1f32, 0., 0., 1.]));
    let v = t(&[1, 1, 2, 2], &[1f32, 2., 3., 4.]);
    let y = attention().float("scale", 1.0).run1(&[q, k, v]);
    assert_close(&y, &t(&[1, 1, 1, 2], &[1.537_882_8f32, 2.537_882_8]));
}

#[test]
fn heads_share_keys_in_any_number_of_queries() {
    for (heads, queries) in [(2, 1), (2, 3), (4, 1), (4, 3), (6, 40), (2, 150)] {
        let q = wave(&[2, heads, queries, 8], 1);
        let (k, v) = (wave(&[2, 2, 21, 8], 2), wave(&[2, 2, 21, 5], 3));
        let expected = plain().answer(&q, &k, &v).y;
        let inputs = [q, k, v];
        let y = attention().run1(&inputs);
        assert_eq!(y.dims(), [2, heads, queries, 5]);
        assert_near(&y, &expected, 1e-5);
        assert_eq!(attention().threads(3).run1(&inputs), y);
        let wide = inputs.clone().map(|x| t(x.dims(), &x.to_f64_vec().unwrap()));
        assert_near(&attention().run1(&wide), &expected, 1e-12);
        // Packed, the numbers are the same.
        let op = attention().int("q_num_heads", heads as i64).int("kv_num_heads", 2);
        let packed = op.run1(&inputs.clone().map(|x| flat(&x)));
        assert_eq!(packed, flat(&y));
        // And so is a batch entry alone.
        let alone = inputs.map(|x| x.rows(1..2).unwrap());
        assert_eq!(attention().run1(&alone), y.rows(1..2).unwrap());
    }
}

#[test]
fn masks_hide_or_bias() {
    let (q, k, v) = (wave(&[2, 3, 4, 8], 1), wave(&[2, 3, 6, 8], 2), wave(&[2, 3, 6, 8], 3));
    let flags: Vec<bool> = (0..24).map(|i| i % 3 != 0).collect();
    let bias = |_: usize, _: usize, i: usize, j: usize| if flags[i * 6 + j] { 0.0 } else { HIDDEN };
    let expected = with(&bias).answer(&q, &k, &v).y;
    let y = attention().run1(&[q.clone(), k.clone(), v.clone(), t(&[4, 6], &flags)]);
    assert_near(&y, &expected, 1e-5);
    // A mask a head; three dimensions are (heads, queries, keys).
    let mask = wave(&[3, 4, 6], 7);
    let m = mask.to_f64_vec().unwrap();
    let bias = |_: usize, h: usize, i: usize, j: usize| m[(h * 4 + i) * 6 + j];
    let expected = with(&bias).answer(&q, &k, &v).y;
    assert_near(&attention().run1(&[q.clone(), k.clone(), v.clone(), mask]), &expected, 1e-5);
    let row = wave(&[2, 1, 1, 6], 8);
    let r = row.to_f64_vec().unwrap();
    let bias = |b: usize, _: usize, i: usize, j: usize| {
        if j > i { HIDDEN } else { r[b * 6 + j] }
    };
    let expected = with(&bias).answer(&q, &k, &v).y;
    let op = attention().int("is_causal", 1);
    assert_near(&op.run1(&[q.clone(), k.clone(), v.clone(), row]), &expected, 1e-5);
    let wrong = wave(&[5, 6], 1);
    assert!(attention().run(&[q, k, v, wrong]).is_err());
}

#[test]
fn a_query_without_keys_answers_zero() {
    let (q, k, v) = (wave(&[1, 2, 2, 4], 1), wave(&[1, 2, 3, 4], 2), wave(&[1, 2, 3, 4], 3));
    let mask = t(&[2, 3], &[false, false, false, true, false, true]);
    let op = attention().int("qk_matmul_output_mode", 3).outputs(4);
    let out = op.run(&[q.clone(), k, v, mask]).unwrap();
    let (y, weights) = (out[0].as_slice::<f32>().unwrap(), out[3].as_slice::<f32>().unwrap());
    assert!(y[..4].iter().chain(&y[8..12]).all(|&x| x == 0.0));
    assert!(weights[..3].iter().all(|&x| x == 0.0));
    assert!(y.iter().all(|x| x.is_finite()) && y[4] != 0.0);
    let none = t::<f32>(&[1, 2, 0, 4], &[]);
    let y = attention().run1(&[q, none.clone(), none.clone()]);
    assert_eq!(y, t(&[1, 2, 2, 4], &[0f32; 16]));
    assert_eq!(attention().run1(&[none.clone(), none.clone(), none]).dims(), [1, 2, 0, 4]);
}

#[test]
fn the_past_comes_before_the_new_keys() {
    let q = wave(&[2, 4, 3, 8], 1);
    let (k, v) = (wave(&[2, 2, 7, 8], 2), wave(&[2, 2, 7, 6], 3));
    let cut = |x: &Tensor, from: usize, to: usize| {
        let (width, data) = (x.dims()[3], x.as_slice::<f32>().unwrap());
        let lines = data.chunks(7 * width).flat_map(|c| c[from * width..to * width].to_vec());
        t(&[2, 2, to - from, width], &lines.collect::<Vec<_>>())
    };
    let bias = |_: usize, _: usize, i: usize, j: usize| if j > i + 4 { HIDDEN } else { 0.0 };
    let expected = with(&bias).answer(&q, &k, &v);
    let op = attention().int("is_causal", 1).int("qk_matmul_output_mode", 2).outputs(4);
    let (new_k, past_k) = (cut(&k, 4, 7), cut(&k, 0, 4));
    let (new_v, past_v) = (cut(&v, 4, 7), cut(&v, 0, 4));
    let inputs = [Some(&q), Some(&new_k), Some(&new_v), None, Some(&past_k), Some(&past_v)];
    let out = run(&op, &inputs).unwrap();
    assert_near(&out[0], &expected.y, 1e-5);
    assert_eq!((&out[1], &out[2]), (&k, &v));
    assert_near(&out[3], &expected.biased, 1e-5);
    // Outputs that nobody reads are left out from the end.
    assert_eq!(run(&attention(), &inputs).unwrap().len(), 1);
    assert!(run(&op, &inputs[..5]).is_err());
}

#[test]
fn every_stage_of_the_scores_is_an_output() {
    let (q, k, v) = (wave(&[1, 2, 3, 4], 1), wave(&[1, 2, 5, 4], 2), wave(&[1, 2, 5, 4], 3));
    let mask = wave(&[3, 5], 4);
    let m = mask.to_f64_vec().unwrap();
    let bias = |_: usize, _: usize, i: usize, j: usize| m[i * 5 + j];
    let answer = Oracle { scale: Some(3.0), softcap: 0.5, bias: &bias }.answer(&q, &k, &v);
    let stages = [answer.product, answer.capped, answer.biased, answer.probabilities];
    for (mode, expected) in stages.iter().enumerate() {
        let op = attention().float("scale", 3.0).float("softcap", 0.5).outputs(4);
        let op = op.int("qk_matmul_output_mode", mode as i64);
        let out = op.run(&[q.clone(), k.clone(), v.clone(), mask.clone()]).unwrap();
        assert_near(&out[0], &answer.y, 1e-5);
        assert_eq!(out[3].dims(), [1, 2, 3, 5]);
        assert_near(&out[3], expected, 1e-5);
    }
    let op = attention().int("qk_matmul_output_mode", 4);
    assert!(op.run(&[q, k, v, mask]).is_err());
}

#[test]
fn external_caches_have_a_length_each() {
    let (q, k, v) = (wave(&[2, 4, 3, 8], 1), wave(&[2, 2, 8, 8], 2), wave(&[2, 2, 8, 8], 3));
    let lengths = t(&[2], &[2i64, 7]);
    let n = [2usize, 7];
    // Query i of a sample stands at length − 3 + i.
    let bias = |b: usize, _: usize, i: usize, j: usize| {
        if j >= n[b] || j + 3 > n[b] + i { HIDDEN } else { 0.0 }
    };
    let expected = with(&bias).answer(&q, &k, &v).y;
    let op = Op::onnx("Attention", 24).int("is_causal", 1);
    let inputs = [Some(&q), Some(&k), Some(&v), None, None, None, Some(&lengths)];
    let y = run(&op, &inputs).unwrap().remove(0);
    assert_near(&y, &expected, 1e-5);
    // The first query of the first sample stands before its keys.
    assert!(y.as_slice::<f32>().unwrap()[..8].iter().all(|&x| x == 0.0));
    // A mask may end with the longest.
    let mask = wave(&[3, 7], 5);
    let m = mask.to_f64_vec().unwrap();
    let bias = |b: usize, _: usize, i: usize, j: usize| {
        if j >= n[b] { HIDDEN } else { m[i * 7 + j] }
    };
    let expected = with(&bias).answer(&q, &k, &v).y;
    let inputs = [Some(&q), Some(&k), Some(&v), Some(&mask), None, None, Some(&lengths)];
    assert_near(&run(&Op::onnx("Attention", 24), &inputs).unwrap()[0], &expected, 1e-5);
    assert!(run(&attention(), &inputs).is_err());
    let wrong = t(&[1], &[2i64]);
    let inputs = [Some(&q), Some(&k), Some(&v), None, None, None, Some(&wrong)];
    assert!(run(&op, &inputs).is_err());
}

#[test]
fn windows_reach_so_far_to_each_side() {
    let (q, k, v) = (wave(&[1, 2, 6, 4], 1), wave(&[1, 2, 6, 4], 2), wave(&[1, 2, 6, 4], 3));
    let inputs = [q, k, v];
    let check = |op: Op, seen: &dyn Fn(i64, i64) -> bool| {
        let bias = |_: usize, _: usize, i: usize, j: usize| {
            if seen(i as i64, j as i64) { 0.0 } else { HIDDEN }
        };
        let expected = with(&bias).answer(&inputs[0], &inputs[1], &inputs[2]).y;
        assert_near(&op.run1(&inputs), &expected, 1e-5);
    };
    let op = || Op::onnx("Attention", 25);
    check(op().int("left_window_size", 1), &|i, j| j >= i - 1);
    check(op().int("right_window_size", 2), &|i, j| j <= i + 2);
    check(op().int("left_window_size", 0).int("is_causal", 1), &|i, j| i == j);
    check(Op::onnx("Attention", 24).int("left_window_size", 1), &|_, _| true);
    assert!(op().int("left_window_size", -2).run(&inputs).is_err());
}

#[test]
fn narrow_types_and_the_precision_of_softmax() {
    let inputs = [wave(&[1, 2, 3, 8], 1), wave(&[1, 2, 5, 8], 2), wave(&[1, 2, 5, 8], 3)];
    let expected = plain().answer(&inputs[0], &inputs[1], &inputs[2]);
    let half = inputs.clone().map(|x| {
        let v = x.as_slice::<f32>().unwrap().iter().map(|&x| f16::from_f32(x)).collect();
        Tensor::new(x.shape().clone(), Data::F16(v)).unwrap()
    });
    let y = attention().run1(&half);
    assert!(matches!(y.data(), Data::F16(_)));
    assert_near(&y, &expected.y, 2e-3);
    let brain = inputs.clone().map(|x| {
        let v = x.as_slice::<f32>().unwrap().iter().map(|&x| bf16::from_f32(x)).collect();
        Tensor::new(x.shape().clone(), Data::BF16(v)).unwrap()
    });
    let y = attention().run1(&brain);
    assert!(matches!(y.data(), Data::BF16(_)));
    assert_near(&y, &expected.y, 2e-2);
    for (precision, tolerance) in [(1, 1e-5), (11, 1e-5), (10, 2e-3), (16, 2e-2)] {
        let op = attention().int("softmax_precision", precision);
        let op = op.int("qk_matmul_output_mode", 3).outputs(4);
        let out = op.run(&inputs).unwrap();
        assert_near(&out[0], &expected.y, tolerance);
        assert_near(&out[3], &expected.probabilities, tolerance);
        // In a narrow type the weights are values of it.
        let weights = out[3].as_slice::<f32>().unwrap();
        if precision == 10 {
            assert!(weights.iter().all(|&w| f16::from_f32(w).to_f32() == w));
        }
        let wide = inputs.clone().map(|x| t(x.dims(), &x.to_f64_vec().unwrap()));
        assert_near(&op.run(&wide).unwrap()[0], &expected.y, tolerance);
    }
    assert!(attention().int("softmax_precision", 7).run(&inputs).is_err());
}

#[test]
fn shapes_that_do_not_go_together_are_refused() {
    let q = wave(&[1, 4, 3, 8], 1);
    let refused = |q: &Tensor, k: &[usize], v: &[usize]| {
        assert!(attention().run(&[q.clone(), wave(k, 1), wave(v, 2)]).is_err(), "{k:?} {v:?}");
    };
    refused(&q, &[2, 2, 5, 8], &[2, 2, 5, 8]);
    refused(&q, &[1, 3, 5, 8], &[1, 3, 5, 8]);
    refused(&q, &[1, 2, 5, 7], &[1, 2, 5, 8]);
    refused(&q, &[1, 2, 5, 8], &[1, 2, 4, 8]);
    refused(&q, &[1, 5, 16], &[1, 5, 16]);
    refused(&wave(&[1, 3, 8], 1), &[1, 3, 8], &[1, 3, 8]);
    refused(&t::<f32>(&[1, 4, 3, 0], &[]), &[1, 2, 5, 0], &[1, 2, 5, 8]);
    let inputs = [wave(&[1, 3, 8], 1), wave(&[1, 3, 8], 1), wave(&[1, 3, 8], 1)];
    assert!(attention().int("q_num_heads", 3).int("kv_num_heads", 1).run(&inputs).is_err());
    assert!(attention().int("q_num_heads", 0).int("kv_num_heads", 1).run(&inputs).is_err());
    let op = attention().int("q_num_heads", 2).int("kv_num_heads", 1);
    assert!(op.run(&inputs).is_err());
}

#[test]
fn a_gate_swishes_and_multiplies() {
    let (a, b) = (t(&[4], &[0f32, 1., -2., 3.]), t(&[4], &[5f32, 2., 3., -1.]));
    // a·sigmoid(a)·b
    let expected = t(&[4], &[0f32, 1.462_117_2, -0.715_217_4, -2.857_722_4]);
    assert_close(&Op::onnx("SwiGLU", 28).run1(&[a.clone(), b.clone()]), &expected);
    let sharp = Op::onnx("SwiGLU", 28).float("alpha", 2.0).run1(&[a.clone(), b.clone()]);
    let expected = t(&[4], &[0f32, 1.761_594_2, -0.107_917_2, -2.992_582]);
    assert_close(&sharp, &expected);
    let wide = |x: &Tensor| t(x.dims(), &x.to_f64_vec().unwrap());
    let y = Op::onnx("SwiGLU", 28).run1(&[wide(&a), wide(&b)]);
    assert!((y.as_slice::<f64>().unwrap()[1] - 2.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
    let half = |x: &Tensor| {
        let v: Vec<f16> = x.as_slice::<f32>().unwrap().iter().map(|&x| f16::from_f32(x)).collect();
        t(x.dims(), &v)
    };
    let y = Op::onnx("SwiGLU", 28).run1(&[half(&a), half(&b)]);
    assert_near(&y, &[0.0, 1.462_117_2, -0.715_217_4, -2.857_722_4], 1e-3);
    assert!(Op::onnx("SwiGLU", 28).run(&[a.clone(), t(&[1], &[1f32])]).is_err());
    assert!(Op::onnx("SwiGLU", 27).run(&[a, b]).is_err());
}
