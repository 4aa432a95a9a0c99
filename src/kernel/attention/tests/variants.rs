//! Forms of attention for quantised weights, for beam search and with normalised heads; and the
//! convolution of com.microsoft.

use super::oracle::{flat, flat_answer, plain, with};
use super::{assert_near, wave};
use crate::kernel::testing::{Op, t};
use crate::tensor::{Tensor, Value};

fn run(op: &Op, inputs: &[Option<&Tensor>]) -> crate::error::Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
    op.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
}

fn op(name: &'static str) -> Op {
    Op::new("com.microsoft", name, 1).int("num_heads", 2)
}

#[test]
fn quantised_weights_answer_as_the_numbers_they_stand_for() {
    // Two samples of three tokens of four numbers; two heads of two.
    let x: Vec<u8> = (0..24).map(|i| (i * 37 % 200) as u8).collect();
    let w: Vec<i8> = (0..48).map(|i| (i * 29 % 100 - 50) as i8).collect();
    let scales: Vec<f32> = (0..12).map(|i| 0.0002 * (i + 1) as f32).collect();
    let zeros: Vec<i8> = (0..12).map(|i| i - 6).collect();
    let bias = wave(&[12], 3);
    let wide_x: Vec<f32> = x.iter().map(|&x| (f32::from(x) - 90.0) * 0.05).collect();
    let wide_w: Vec<f32> =
        (0..48).map(|i| (f32::from(w[i]) - f32::from(zeros[i % 12])) * scales[i % 12]).collect();
    let (wide_x, wide_w) = (t(&[2, 3, 4], &wide_x), t(&[4, 12], &wide_w));
    let (x, w) = (t(&[2, 3, 4], &x), t(&[4, 12], &w));
    let (x_scale, x_zero) = (t(&[], &[0.05f32]), t(&[], &[90u8]));
    let (w_scale, w_zero) = (t(&[12], &scales), t(&[12], &zeros));
    let (mask, past) = (t(&[2, 5], &[1i32, 1, 1, 0, 1, 1, 1, 1, 1, 1]), wave(&[2, 2, 2, 2, 2], 4));
    let plain = op("Attention").int("unidirectional", 1).outputs(2);
    let inputs = [Some(&wide_x), Some(&wide_w), Some(&bias), Some(&mask), Some(&past)];
    let expected = run(&plain, &inputs).unwrap();
    let inputs = [
        Some(&x),
        Some(&w),
        Some(&bias),
        Some(&x_scale),
        Some(&w_scale),
        Some(&mask),
        Some(&x_zero),
        Some(&w_zero),
        Some(&past),
    ];
    for constant in [&[][..], &[1, 7]] {
        let quantised = op("QAttention").int("unidirectional", 1).outputs(2).constant(constant);
        let out = run(&quantised, &inputs).unwrap();
        for (got, expected) in out.iter().zip(&expected) {
            assert_eq!(got.dims(), expected.dims());
            assert_near(got, &expected.to_f64_vec().unwrap(), 1e-4);
        }
    }
    // Without zero points, mask and past.
    let bare = op("QAttention");
    let out = run(&bare, &inputs[..5]).unwrap();
    assert_eq!(out[0].dims(), [2, 3, 4]);
    assert!(run(&bare, &inputs[..4]).is_err());
    assert!(run(&op("QAttention").int("do_rotary", 1), &inputs[..5]).is_err());
    assert!(run(&op("QAttention").int("past_present_share_buffer", 1), &inputs[..5]).is_err());
    let flat_x = t(&[6, 4], &[1u8; 24]);
    let wrong = [Some(&flat_x), Some(&w), Some(&bias), Some(&x_scale), Some(&w_scale)];
    assert!(run(&bare, &wrong).is_err());
}

/// Beams of one batch entry as the cache of each would be: token `i` of beam `b` from
/// `sources[b][i]`.
fn seen(cache: &Tensor, sources: [[usize; 2]; 2]) -> Tensor {
    let &[2, 2, length, size] = cache.dims() else { panic!("two beams of two heads") };
    let data = cache.as_slice::<f32>().unwrap();
    let mut all = vec![];
    for (beam, named) in sources.iter().enumerate() {
        for head in 0..2 {
            for token in 0..length {
                let from = named.get(token).copied().unwrap_or(beam);
                let at = ((from * 2 + head) * length + token) * size;
                all.extend_from_slice(&data[at..at + size]);
            }
        }
    }
    t(cache.dims(), &all)
}

/// The first tokens of a cache of two beams and two heads.
fn cut(cache: &Tensor, length: usize) -> Tensor {
    let &[2, 2, all, size] = cache.dims() else { panic!("two beams of two heads") };
    let lines = cache.as_slice::<f32>().unwrap().chunks(all * size);
    let kept: Vec<f32> = lines.flat_map(|line| line[..length * size].to_vec()).collect();
    t(&[2, 2, length, size], &kept)
}

#[test]
fn a_beam_reads_its_tokens_where_they_are() {
    let (q, k, v) = (wave(&[2, 2, 1, 4], 1), wave(&[2, 2, 1, 4], 2), wave(&[2, 2, 1, 4], 3));
    let (buffer_k, buffer_v) = (wave(&[2, 2, 5, 4], 4), wave(&[2, 2, 5, 4], 5));
    let (past, bias) = (t(&[1], &[2i32]), wave(&[24], 6));
    // The first beam's second token, and all of the second's, come from the other one.
    let sources = t(&[1, 2, 5], &[0i32, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let [fq, fk, fv] = [&q, &k, &v].map(flat);
    let inputs = [
        Some(&fq),
        Some(&fk),
        Some(&fv),
        None,
        None,
        Some(&buffer_k),
        Some(&buffer_v),
        Some(&past),
        None,
        Some(&sources),
    ];
    let decoder = op("DecoderMaskedMultiHeadAttention").outputs(3);
    let decoder = decoder.int("past_present_share_buffer", 1);
    let out = run(&decoder, &inputs).unwrap();
    // The cache gets the new tokens and is not put in another order.
    let written = |buffer: &Tensor, new: &Tensor| {
        let mut all = buffer.as_slice::<f32>().unwrap().to_vec();
        for (i, new) in new.as_slice::<f32>().unwrap().chunks(4).enumerate() {
            all[i * 20 + 8..i * 20 + 12].copy_from_slice(new);
        }
        t(&[2, 2, 5, 4], &all)
    };
    let (all_k, all_v) = (written(&buffer_k, &k), written(&buffer_v, &v));
    assert_eq!((&out[1], &out[2]), (&all_k, &all_v));
    let see = |cache: &Tensor| seen(&cut(cache, 3), [[0, 1], [0, 0]]);
    let expected = flat_answer(&plain().answer(&q, &see(&all_k), &see(&all_v)).y, [2, 2, 1, 4]);
    assert_near(&out[0], &expected, 1e-5);
    // The same by the other operator, and with queries, keys and values in one tensor.
    let places = [0, 1, 2, 8, 8, 8, 5, 6, 7, 9];
    let other = run(&op("MultiHeadAttention").outputs(3), &places.map(|i| inputs[i])).unwrap();
    assert_eq!(other, out);
    let tokens = |x: &Tensor| -> Vec<Vec<f32>> {
        x.as_slice::<f32>().unwrap().chunks(8).map(<[f32]>::to_vec).collect()
    };
    let (rows_q, rows_k, rows_v) = (tokens(&fq), tokens(&fk), tokens(&fv));
    let packed: Vec<f32> =
        (0..2).flat_map(|i| [&rows_q[i][..], &rows_k[i], &rows_v[i]].concat()).collect();
    let packed = t(&[2, 1, 24], &packed);
    let mut one = inputs;
    (one[0], one[1], one[2]) = (Some(&packed), None, None);
    assert_eq!(run(&decoder, &one).unwrap(), out);
    let mut biased = inputs.to_vec();
    biased.push(Some(&bias));
    let with_bias = run(&decoder, &biased).unwrap();
    assert_ne!(with_bias[1], out[1]);
    // Without the flag the whole cache is past.
    let appended = op("DecoderMaskedMultiHeadAttention").outputs(2);
    assert_eq!(run(&appended, &inputs[..7]).unwrap()[1].dims(), [2, 2, 6, 4]);
    for wrong in [t(&[1, 2, 5], &[2i32; 10]), t(&[1, 2, 1], &[0i32; 2]), t(&[2, 2, 5], &[0; 20])] {
        let mut inputs = inputs;
        inputs[9] = Some(&wrong);
        assert!(run(&decoder, &inputs).is_err());
    }
    let mut unknown = inputs;
    unknown[7] = None;
    assert!(run(&decoder, &unknown).is_err());
}

#[test]
fn heads_are_normalised_before_they_are_turned_and_kept() {
    let (q, k, v) = (wave(&[1, 4, 3, 4], 1), wave(&[1, 2, 3, 4], 2), wave(&[1, 2, 3, 4], 3));
    let (wq, wk) = (wave(&[4], 4), wave(&[4], 5));
    let normed = |x: &Tensor, w: &Tensor| {
        let w = w.as_slice::<f32>().unwrap();
        let head = |head: &[f32]| {
            let mean = head.iter().map(|x| x * x).sum::<f32>() / 4.0;
            let factor = 1.0 / (mean + 0.5).sqrt();
            head.iter().zip(w).map(|(x, w)| x * factor * w).collect::<Vec<f32>>()
        };
        let all: Vec<f32> = x.as_slice::<f32>().unwrap().chunks(4).flat_map(head).collect();
        t(x.dims(), &all)
    };
    let (nq, nk) = (normed(&q, &wq), normed(&k, &wk));
    let bias = |_: usize, _: usize, i: usize, j: usize| if j > i { -1e30 } else { 0.0 };
    let expected = flat_answer(&with(&bias).answer(&nq, &nk, &v).y, [1, 4, 3, 4]);
    let [q, k, v] = [&q, &k, &v].map(flat);
    let (last, total) = (t(&[1], &[2i32]), Tensor::scalar(3i32));
    let mut inputs = vec![Some(&q), Some(&k), Some(&v), None, None, Some(&last), Some(&total)];
    inputs.resize(14, None);
    inputs.extend([Some(&wq), Some(&wk)]);
    let op = Op::new("com.microsoft", "GroupQueryAttention", 1).outputs(3).int("num_heads", 4);
    let op = op.int("kv_num_heads", 2).float("qk_norm_epsilon", 0.5);
    let out = run(&op, &inputs).unwrap();
    assert_near(&out[0], &expected, 1e-5);
    assert_near(&out[1], &nk.to_f64_vec().unwrap(), 1e-6);
    assert!(run(&op, &inputs[..15]).is_err());
    let short = wave(&[3], 4);
    inputs[14] = Some(&short);
    assert!(run(&op, &inputs).is_err());
}

#[test]
fn taps_lie_apart_and_channels_may_come_last() {
    let conv = || Op::new("com.microsoft", "CausalConvWithState", 1).outputs(2);
    let x = t(&[1, 1, 5], &[1f32, 2., 3., 4., 5.]);
    let w = t(&[1, 1, 2], &[10f32, 1.]);
    let out = conv().int("dilation", 2).run(&[x.clone(), w.clone()]).unwrap();
    assert_eq!(out[0], t(&[1, 1, 5], &[1f32, 2., 13., 24., 35.]));
    assert_eq!(out[1], t(&[1, 1, 2], &[4f32, 5.]));
    // Two by three channels behind four places, with a state of their own.
    let (x, w) = (wave(&[2, 6, 4], 1), wave(&[6, 1, 3], 2));
    let (bias, past) = (wave(&[6], 3), wave(&[2, 6, 2], 4));
    let expected = conv().run(&[x.clone(), w.clone(), bias.clone(), past.clone()]).unwrap();
    let behind = |x: &Tensor| {
        let turned =
            Op::onnx("Transpose", 13).ints("perm", &[0, 2, 1]).run1(std::slice::from_ref(x));
        let shape = [2, turned.dims()[1], 2, 3];
        t(&shape, turned.as_slice::<f32>().unwrap())
    };
    let last = conv().int("channels_last", 1);
    let out = last.run(&[behind(&x), w.clone(), bias, behind(&past)]).unwrap();
    assert_eq!(out, [behind(&expected[0]), behind(&expected[1])]);
    assert!(last.run(&[t(&[6], &[1f32; 6]), w.clone()]).is_err());
    assert!(conv().int("dilation", 0).run(&[x.clone(), w.clone()]).is_err());
    for name in ["state_window", "state_length", "input_channels"] {
        assert!(conv().int(name, 3).run(&[x.clone(), w.clone()]).is_err());
    }
    assert!(conv().int("dilation", 1 << 30).run(&[x, w]).is_err());
}
