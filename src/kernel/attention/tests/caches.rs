//! Caches of keys and values: TensorScatter, GroupQueryAttention.

use super::oracle::{Oracle, flat, flat_answer, with};
use super::{assert_near, wave};
use crate::kernel::testing::{Op, strings, t};
use crate::tensor::{Tensor, Value};

#[test]
fn updates_are_written_at_their_places() {
    let cache = t(&[2, 4, 2], &(0..16).collect::<Vec<i32>>());
    let update = t(&[2, 2, 2], &[-1, -2, -3, -4, -5, -6, -7, -8]);
    let scatter = || Op::onnx("TensorScatter", 24);
    let y = scatter().run1(&[cache.clone(), update.clone()]);
    let expected = [-1, -2, -3, -4, 4, 5, 6, 7, -5, -6, -7, -8, 12, 13, 14, 15];
    assert_eq!(y, t(&[2, 4, 2], &expected));
    let at = t(&[2], &[2i64, 1]);
    let y = scatter().run1(&[cache.clone(), update.clone(), at]);
    let expected = [0, 1, 2, 3, -1, -2, -3, -4, 8, 9, -5, -6, -7, -8, 14, 15];
    assert_eq!(y, t(&[2, 4, 2], &expected));
    // Around the end: entry 7 is entry 3.
    let at = t(&[2], &[7i64, 0]);
    let around = scatter().string("mode", "circular");
    let y = around.run1(&[cache.clone(), update.clone(), at.clone()]);
    let expected = [-3, -4, 2, 3, 4, 5, -1, -2, -5, -6, -7, -8, 12, 13, 14, 15];
    assert_eq!(y, t(&[2, 4, 2], &expected));
    assert!(scatter().run(&[cache.clone(), update.clone(), at]).is_err());
    for bad in [-1, 3, i64::MAX, i64::MIN] {
        let at = t(&[2], &[bad, 0]);
        assert!(scatter().run(&[cache.clone(), update.clone(), at]).is_err());
    }
    assert!(scatter().int("axis", 0).run(&[cache.clone(), update.clone()]).is_err());
    assert!(scatter().int("axis", -1).run(&[cache.clone(), update]).is_err());
    assert!(scatter().run(&[cache.clone(), t(&[2, 2, 2], &[0i64; 8])]).is_err());
    let none = t::<i32>(&[2, 0, 2], &[]);
    assert_eq!(scatter().run1(&[cache.clone(), none]), cache);
}

#[test]
fn updates_go_along_any_axis_and_of_any_type() {
    let cache = strings(&[1, 2, 3], &["a", "b", "c", "d", "e", "f"]);
    let update = strings(&[1, 2, 1], &["x", "y"]);
    let op = Op::onnx("TensorScatter", 24).int("axis", 2);
    let y = op.run1(&[cache, update, t(&[1], &[2i64])]);
    assert_eq!(y, strings(&[1, 2, 3], &["a", "b", "x", "d", "e", "y"]));
}

const HIDDEN: f64 = f64::NEG_INFINITY;

fn group_query(inputs: &[Option<&Tensor>], op: &Op) -> crate::error::Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
    op.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
}

fn op() -> Op {
    let op = Op::new("com.microsoft", "GroupQueryAttention", 1).outputs(3);
    op.int("num_heads", 4).int("kv_num_heads", 2)
}

/// Tokens `from..to` of a tensor by head.
fn tokens(x: &Tensor, from: usize, to: usize) -> Tensor {
    let &[batch, heads, length, size] = x.dims() else { panic!("a tensor by head") };
    let lines = x.as_slice::<f32>().unwrap().chunks(length * size);
    let kept: Vec<f32> = lines.flat_map(|c| c[from * size..to * size].to_vec()).collect();
    t(&[batch, heads, to - from, size], &kept)
}

#[test]
fn a_prompt_and_a_token_after_it_are_one_sequence() {
    let q = wave(&[1, 4, 5, 8], 1);
    let (k, v) = (wave(&[1, 2, 5, 8], 2), wave(&[1, 2, 5, 8], 3));
    let bias = |_: usize, _: usize, i: usize, j: usize| if j > i { HIDDEN } else { 0.0 };
    let expected = with(&bias).answer(&q, &k, &v).y;
    let expected = flat_answer(&expected, [1, 4, 5, 8]);
    let parts = |from, to| [&q, &k, &v].map(|x| flat(&tokens(x, from, to)));
    let [q1, k1, v1] = parts(0, 4);
    let (last, total) = (t(&[1], &[3i32]), Tensor::scalar(4i32));
    let inputs = [Some(&q1), Some(&k1), Some(&v1), None, None, Some(&last), Some(&total)];
    let out = group_query(&inputs, &op()).unwrap();
    assert_near(&out[0], &expected[..4 * 32], 1e-5);
    assert_eq!(out[1], tokens(&k, 0, 4));
    let [q2, k2, v2] = parts(4, 5);
    let (last, total) = (t(&[1], &[4i32]), Tensor::scalar(5i32));
    let inputs =
        [Some(&q2), Some(&k2), Some(&v2), Some(&out[1]), Some(&out[2]), Some(&last), Some(&total)];
    let out = group_query(&inputs, &op()).unwrap();
    assert_near(&out[0], &expected[4 * 32..], 1e-5);
    assert_eq!((&out[1], &out[2]), (&k, &v));
    // Queries, keys and values may come in one tensor.
    let rows = |x: &Tensor, width| -> Vec<Vec<f32>> {
        x.as_slice::<f32>().unwrap().chunks(width).map(<[f32]>::to_vec).collect()
    };
    let (q1r, k1r, v1r) = (rows(&q1, 32), rows(&k1, 16), rows(&v1, 16));
    let packed: Vec<f32> = (0..4).flat_map(|i| [&q1r[i][..], &k1r[i], &v1r[i]].concat()).collect();
    let packed = t(&[1, 4, 64], &packed);
    let (last, total) = (t(&[1], &[3i32]), Tensor::scalar(4i32));
    let inputs = [Some(&packed), None, None, None, None, Some(&last), Some(&total)];
    let out = group_query(&inputs, &op()).unwrap();
    assert_near(&out[0], &expected[..4 * 32], 1e-5);
}

#[test]
fn entries_of_a_shared_buffer_have_lengths_of_their_own() {
    let q = wave(&[2, 4, 1, 8], 1);
    let (cache_k, cache_v) = (wave(&[2, 2, 6, 8], 2), wave(&[2, 2, 6, 8], 3));
    let (k, v) = (wave(&[2, 2, 1, 8], 4), wave(&[2, 2, 1, 8], 5));
    // Sample 0 has 2 keys before this one, sample 1 has 4.
    let lengths = [3usize, 5];
    let place = |cache: &Tensor, new: &Tensor| {
        let mut all = cache.as_slice::<f32>().unwrap().to_vec();
        for (line, new) in new.as_slice::<f32>().unwrap().chunks(8).enumerate() {
            let at = (line * 6 + lengths[line / 2] - 1) * 8;
            all[at..at + 8].copy_from_slice(new);
        }
        t(&[2, 2, 6, 8], &all)
    };
    let (all_k, all_v) = (place(&cache_k, &k), place(&cache_v, &v));
    let window = 2;
    let bias = |b: usize, _: usize, _: usize, j: usize| {
        if j >= lengths[b] || j + window < lengths[b] { HIDDEN } else { 0.0 }
    };
    let oracle = Oracle { scale: None, softcap: 0.7, bias: &bias };
    let expected = flat_answer(&oracle.answer(&q, &all_k, &all_v).y, [2, 4, 1, 8]);
    let (last, total) = (t(&[2], &[2i32, 4]), Tensor::scalar(5i32));
    let (q, k, v) = (flat(&q), flat(&k), flat(&v));
    let inputs =
        [Some(&q), Some(&k), Some(&v), Some(&cache_k), Some(&cache_v), Some(&last), Some(&total)];
    let local = op().int("local_window_size", window as i64).float("softcap", 0.7);
    let out = group_query(&inputs, &local).unwrap();
    assert_near(&out[0], &expected, 1e-5);
    assert_eq!((&out[1], &out[2]), (&all_k, &all_v));
    // A term of score 0 takes its share: a key of score 0 beside it gets half.
    let zeros = t(&[1, 1, 32], &[0f32; 32]);
    let (one_k, one_v) = (t(&[1, 1, 16], &[0f32; 16]), t(&[1, 1, 16], &[1f32; 16]));
    let (first, total) = (t(&[1], &[0i32]), Tensor::scalar(1i32));
    let inputs = [Some(&zeros), Some(&one_k), Some(&one_v), None, None, Some(&first), Some(&total)];
    let out = group_query(&inputs, &op().int("smooth_softmax", 1)).unwrap();
    assert_near(&out[0], &[0.5; 32], 1e-6);
    let bad = t(&[1], &[4i32]);
    let inputs = [Some(&zeros), Some(&one_k), Some(&one_v), None, None, Some(&bad), Some(&total)];
    assert!(group_query(&inputs, &op()).is_err());
}

#[test]
fn positions_turn_queries_and_keys() {
    // One query and one key after one in the cache; angle 1 stands for a quarter turn.
    let cos = t(&[3, 1], &[1f32, 0., -1.]);
    let sin = t(&[3, 1], &[0f32, 1., 0.]);
    let op = Op::new("com.microsoft", "GroupQueryAttention", 1).outputs(3);
    let op = op.int("num_heads", 1).int("kv_num_heads", 1).int("do_rotary", 1);
    let (q, k, v) = (t(&[1, 1, 2], &[1f32, 0.]), t(&[1, 1, 2], &[3f32, 4.]), wave(&[1, 1, 2], 1));
    let past = t(&[1, 1, 1, 2], &[7f32, 7.]);
    let (last, total) = (t(&[1], &[1i32]), Tensor::scalar(2i32));
    let inputs = [
        Some(&q),
        Some(&k),
        Some(&v),
        Some(&past),
        Some(&past),
        Some(&last),
        Some(&total),
        Some(&cos),
        Some(&sin),
    ];
    let out = group_query(&inputs, &op).unwrap();
    // (3, 4) turned by a quarter is (−4, 3).
    assert_near(&out[1], &[7.0, 7.0, -4.0, 3.0], 1e-6);
    assert!(group_query(&inputs[..7], &op).is_err());
}
