//! Attention and MultiHeadAttention of com.microsoft.

use super::oracle::{Oracle, flat, flat_answer, plain, with};
use super::{assert_near, wave};
use crate::kernel::testing::{Op, t};
use crate::tensor::{Data, Shape, Tensor, Value};
use half::f16;

const FILTER: f64 = -10_000.0;
const LATER: f64 = -1e30;

fn run(op: &Op, inputs: &[Option<&Tensor>]) -> crate::error::Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
    op.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
}

fn attention() -> Op {
    Op::new("com.microsoft", "Attention", 1).int("num_heads", 2)
}

fn multi_head() -> Op {
    Op::new("com.microsoft", "MultiHeadAttention", 1).int("num_heads", 2)
}

/// Input, weights and bias of two samples of three tokens, and the queries, keys and values by
/// head that they stand for: two heads of 4, values of 3.
struct Projected {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

fn projected() -> Projected {
    let (x, w, b) = (wave(&[2, 3, 5], 1), wave(&[5, 22], 2), wave(&[22], 3));
    let (xs, ws, bs) = (x.to_f64_vec().unwrap(), w.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
    let by_head = |offset: usize, size: usize| {
        let mut data = vec![];
        for i in 0..2 * 2 * 3 * size {
            let (c, token) = (i % size, i / size % 3);
            let (head, sample) = (i / size / 3 % 2, i / size / 6);
            let column = offset + head * size + c;
            let row = (sample * 3 + token) * 5;
            let dot: f64 = (0..5).map(|d| xs[row + d] * ws[d * 22 + column]).sum();
            data.push((dot + bs[column]) as f32);
        }
        t(&[2, 2, 3, size], &data)
    };
    let (q, k, v) = (by_head(0, 4), by_head(8, 4), by_head(16, 3));
    Projected { x, w, b, q, k, v }
}

#[test]
fn projections_come_before_attention() {
    let Projected { x, w, b, q, k, v } = projected();
    let expected = flat_answer(&plain().answer(&q, &k, &v).y, [2, 2, 3, 3]);
    let op = attention().ints("qkv_hidden_sizes", &[8, 8, 6]);
    let y = op.run1(&[x.clone(), w.clone(), b.clone()]);
    assert_eq!(y.dims(), [2, 3, 6]);
    assert_near(&y, &expected, 1e-5);
    let constant = attention().ints("qkv_hidden_sizes", &[8, 8, 6]).constant(&[1]);
    assert_eq!(constant.run1(&[x.clone(), w.clone(), b.clone()]), y);
    let half = [&x, &w, &b].map(|x| {
        let v = x.as_slice::<f32>().unwrap().iter().map(|&x| f16::from_f32(x)).collect();
        Tensor::new(x.shape().clone(), Data::F16(v)).unwrap()
    });
    for op in [attention(), attention().constant(&[1])] {
        let y = op.ints("qkv_hidden_sizes", &[8, 8, 6]).run1(&half);
        assert!(matches!(y.data(), Data::F16(_)));
        assert_near(&y, &expected, 5e-3);
    }
    // 22 columns are no three equal widths, 6 columns no four heads.
    assert!(attention().run(&[x.clone(), w.clone(), b.clone()]).is_err());
    let odd = attention().ints("qkv_hidden_sizes", &[8, 7, 7]);
    assert!(odd.run(&[x.clone(), w.clone(), b.clone()]).is_err());
    assert!(attention().int("do_rotary", 1).run(&[x.clone(), w.clone(), b]).is_err());
    assert!(attention().run(&[x, wave(&[4, 24], 1)]).is_err());
}

#[test]
fn padding_is_told_in_many_ways() {
    let Projected { x, w, b, q, k, v } = projected();
    let op = |op: Op| op.ints("qkv_hidden_sizes", &[8, 8, 6]);
    let check = |op: Op, mask: Tensor, bias: &dyn Fn(usize, usize, usize) -> f64| {
        let bias = |b: usize, _: usize, i: usize, j: usize| bias(b, i, j);
        let expected = flat_answer(&with(&bias).answer(&q, &k, &v).y, [2, 2, 3, 3]);
        let y = op.run1(&[x.clone(), w.clone(), b.clone(), mask]);
        assert_near(&y, &expected, 1e-5);
    };
    let hides = |hidden: bool| if hidden { FILTER } else { 0.0 };
    check(op(attention()), t(&[2], &[2i32, 3]), &|b, _, j| hides(b == 0 && j == 2));
    let ends_and_starts = t(&[4], &[3i32, 2, 1, 0]);
    check(op(attention()), ends_and_starts, &|b, _, j| hides(j == if b == 0 { 0 } else { 2 }));
    let keys = t(&[2, 3], &[1i32, 0, 1, 0, 1, 1]);
    check(op(attention()), keys.clone(), &|b, _, j| hides(j == 1 - b));
    let causal = op(attention().int("unidirectional", 1));
    check(causal, keys.clone(), &|b, i, j| if j > i { LATER } else { hides(j == 1 - b) });
    let each: Vec<i32> = (0..18).map(|i| i32::from(i % 4 != 1)).collect();
    let cube = t(&[2, 3, 3], &each);
    check(op(attention()), cube, &|b, i, j| hides((b * 9 + i * 3 + j) % 4 == 1));
    let square: Vec<i32> = (0..32).map(|i| i32::from(i % 5 != 2)).collect();
    let square = t(&[2, 1, 4, 4], &square);
    check(op(attention()), square, &|b, i, j| hides((b * 16 + i * 4 + j) % 5 == 2));
    check(op(attention()), t(&[2, 1], &[0i32, 1]), &|_, _, _| 0.0);
    // A filter that is no −10,000 only shifts weights.
    let soft = op(attention().float("mask_filter_value", -1.0));
    check(soft, keys, &|b, _, j| if j == 1 - b { -1.0 } else { 0.0 });
    let wrong = [x, w, b, t(&[5], &[1i32; 5])];
    assert!(op(attention()).run(&wrong).is_err());
}

/// The halves of a cache one after the other.
fn stacked(k: &Tensor, v: &Tensor) -> Tensor {
    let mut dims = vec![2];
    dims.extend_from_slice(k.dims());
    t(&dims, &[k.as_slice::<f32>().unwrap(), v.as_slice::<f32>().unwrap()].concat())
}

/// Two tensors by head, one after the other along their tokens.
fn joined(a: &Tensor, b: &Tensor) -> Tensor {
    let (size, first, second) = (a.dims()[3], a.dims()[2], b.dims()[2]);
    let parts = a.as_slice::<f32>().unwrap().chunks(first * size);
    let rest = b.as_slice::<f32>().unwrap().chunks(second * size);
    let all: Vec<f32> = parts.zip(rest).flat_map(|(a, b)| [a, b].concat()).collect();
    t(&[a.dims()[0], a.dims()[1], first + second, size], &all)
}

#[test]
fn the_cache_holds_keys_and_values() {
    let (x, w) = (wave(&[2, 3, 5], 1), wave(&[5, 24], 2));
    let (past_k, past_v) = (wave(&[2, 2, 2, 4], 5), wave(&[2, 2, 2, 4], 6));
    let fresh = attention().outputs(2).run(&[x.clone(), w.clone()]).unwrap();
    let halves = fresh[1].as_slice::<f32>().unwrap().chunks(48);
    let [k, v]: [Tensor; 2] =
        halves.map(|h| t(&[2, 2, 3, 4], h)).collect::<Vec<_>>().try_into().unwrap();
    let past = stacked(&past_k, &past_v);
    let score_bias = wave(&[1, 2, 3, 5], 7);
    let s = score_bias.to_f64_vec().unwrap();
    let op = attention().int("unidirectional", 1).float("scale", 0.7).outputs(2);
    let inputs = [Some(&x), Some(&w), None, None, Some(&past), Some(&score_bias)];
    let out = run(&op, &inputs).unwrap();
    let (all_k, all_v) = (joined(&past_k, &k), joined(&past_v, &v));
    assert_eq!(out[1], stacked(&all_k, &all_v));
    // The queries are those of a plain product.
    let ws = w.as_slice::<f32>().unwrap();
    let qw: Vec<f32> = (0..5).flat_map(|d| ws[d * 24..d * 24 + 8].to_vec()).collect();
    let q = Op::onnx("MatMul", 13).run1(&[x.clone(), t(&[5, 8], &qw)]);
    let q = q.reshaped(Shape::new(&[2, 3, 2, 4]).unwrap()).unwrap();
    let q = Op::onnx("Transpose", 13).ints("perm", &[0, 2, 1, 3]).run1(&[q]);
    let bias = |_: usize, h: usize, i: usize, j: usize| {
        if j > i + 2 { LATER } else { s[(h * 3 + i) * 5 + j] }
    };
    let oracle = Oracle { scale: Some(f64::from(0.7f32)), softcap: 0.0, bias: &bias };
    let expected = flat_answer(&oracle.answer(&q, &all_k, &all_v).y, [2, 2, 3, 4]);
    assert_near(&out[0], &expected, 1e-5);
    // The same with room behind the past.
    let room = |past: &Tensor| joined(past, &wave(&[2, 2, 5, 4], 9));
    let (buffer_k, buffer_v) = (room(&past_k), room(&past_v));
    let (buffer, filled) = (stacked(&buffer_k, &buffer_v), t(&[1], &[2i32]));
    let inputs = [Some(&x), Some(&w), None, None, Some(&buffer), Some(&score_bias), Some(&filled)];
    let shared = attention().int("unidirectional", 1).float("scale", 0.7).outputs(2);
    let shared = shared.int("past_present_share_buffer", 1);
    let again = run(&shared, &inputs).unwrap();
    assert_eq!(again[0], out[0]);
    assert_eq!(again[1].dims(), [2, 2, 2, 7, 4]);
    let start = |x: &Tensor, n: usize| x.as_slice::<f32>().unwrap()[..n].to_vec();
    assert_eq!(start(&again[1], 5 * 4), start(&out[1], 5 * 4));
    let full = t(&[1], &[5i32]);
    let inputs = [Some(&x), Some(&w), None, None, Some(&buffer), Some(&score_bias), Some(&full)];
    assert!(run(&shared, &inputs).is_err());
}

#[test]
fn packed_and_separate_operands_are_the_same() {
    let (q, k, v) = (wave(&[2, 2, 3, 4], 1), wave(&[2, 2, 3, 4], 2), wave(&[2, 2, 3, 4], 3));
    let expected = flat_answer(&plain().answer(&q, &k, &v).y, [2, 2, 3, 4]);
    let [fq, fk, fv] = [&q, &k, &v].map(flat);
    let y = multi_head().run1(&[fq.clone(), fk.clone(), fv.clone()]);
    assert_near(&y, &expected, 1e-5);
    let interleave = |parts: &[&Tensor]| {
        let rows: Vec<Vec<&[f32]>> =
            parts.iter().map(|x| x.as_slice::<f32>().unwrap().chunks(4).collect()).collect();
        let all: Vec<f32> =
            (0..12).flat_map(|i| rows.iter().flat_map(move |r| r[i].to_vec())).collect();
        t(&[2, 3, 2, parts.len(), 4], &all)
    };
    assert_eq!(multi_head().run1(&[interleave(&[&fq, &fk, &fv])]), y);
    assert_eq!(multi_head().run1(&[fq.clone(), interleave(&[&fk, &fv])]), y);
    // Keys and values by head, of another length than the queries.
    let (long_k, long_v) = (wave(&[2, 2, 7, 4], 4), wave(&[2, 2, 7, 6], 5));
    let expected = flat_answer(&plain().answer(&q, &long_k, &long_v).y, [2, 2, 3, 6]);
    let y = multi_head().run1(&[fq.clone(), long_k, long_v]);
    assert_near(&y, &expected, 1e-5);
    assert!(multi_head().run(&[fq.clone(), fk.clone()]).is_err());
    assert!(multi_head().run(&[fq.clone(), wave(&[2, 3, 6], 1), fv]).is_err());
    assert!(Op::new("com.microsoft", "MultiHeadAttention", 1).run(&[fq, fk]).is_err());
}

#[test]
fn bias_mask_and_past_of_many_heads() {
    let (q, k, v) = (wave(&[2, 2, 3, 4], 1), wave(&[2, 2, 3, 4], 2), wave(&[2, 2, 3, 4], 3));
    let bias = wave(&[24], 4);
    let added = |x: &Tensor, offset: usize| {
        let b = bias.as_slice::<f32>().unwrap();
        let data = x.as_slice::<f32>().unwrap().iter().enumerate();
        let data = data.map(|(i, x)| x + b[offset + i / 12 % 2 * 4 + i % 4]);
        t(x.dims(), &data.collect::<Vec<f32>>())
    };
    let (past_k, past_v) = (wave(&[2, 2, 2, 4], 5), wave(&[2, 2, 2, 4], 6));
    let (all_k, all_v) = (joined(&past_k, &added(&k, 8)), joined(&past_v, &added(&v, 16)));
    let score_bias = wave(&[2, 1, 3, 5], 7);
    let s = score_bias.to_f64_vec().unwrap();
    // The second new key of the first sample is padding; a mask of all keys says the same.
    let (short, long) =
        (t(&[2, 3], &[1i32, 0, 1, 1, 1, 1]), t(&[2, 5], &[1i32, 1, 1, 0, 1, 1, 1, 1, 1, 1]));
    let rule = |b: usize, _: usize, i: usize, j: usize| {
        let mask = if b == 0 && j == 3 { FILTER } else { 0.0 };
        mask + s[(b * 3 + i) * 5 + j]
    };
    let answer = with(&rule).answer(&added(&q, 0), &all_k, &all_v);
    let expected = flat_answer(&answer.y, [2, 2, 3, 4]);
    let [fq, fk, fv] = [&q, &k, &v].map(flat);
    for mask in [&short, &long] {
        let inputs = [
            Some(&fq),
            Some(&fk),
            Some(&fv),
            Some(&bias),
            Some(mask),
            Some(&score_bias),
            Some(&past_k),
            Some(&past_v),
        ];
        let out = run(&multi_head().outputs(4), &inputs).unwrap();
        assert_near(&out[0], &expected, 1e-5);
        assert_near(&out[1], &all_k.to_f64_vec().unwrap(), 1e-6);
        assert_near(&out[2], &all_v.to_f64_vec().unwrap(), 1e-6);
        assert_near(&out[3], &answer.biased, 1e-3);
    }
    let inputs = [Some(&fq), Some(&fk), Some(&fv), None, None, None, Some(&past_k)];
    assert!(run(&multi_head(), &inputs).is_err());
    let short_bias = wave(&[20], 1);
    let inputs = [Some(&fq), Some(&fk), Some(&fv), Some(&short_bias)];
    assert!(run(&multi_head(), &inputs).is_err());
}
