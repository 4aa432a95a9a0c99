//! RotaryEmbedding of both domains.

use super::{assert_near, wave};
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Data, Tensor};
use half::bf16;

fn rotary() -> Op {
    Op::onnx("RotaryEmbedding", 23)
}

fn microsoft() -> Op {
    Op::new("com.microsoft", "RotaryEmbedding", 1)
}

#[test]
fn pairs_are_turned_by_their_angles() {
    // Two tokens of one head of 4; token 0 by angles 0 and a quarter, token 1 by a half and none.
    let x = t(&[1, 1, 2, 4], &[1f32, 2., 3., 4., 5., 6., 7., 8.]);
    let (cos, sin) = (t(&[1, 2, 2], &[1f32, 0., -1., 1.]), t(&[1, 2, 2], &[0f32, 1., 0., 0.]));
    // Halves apart: pairs (1, 3) and (2, 4), then (5, 7) and (6, 8).
    let y = rotary().run1(&[x.clone(), cos.clone(), sin.clone()]);
    assert_close(&y, &t(&[1, 1, 2, 4], &[1f32, -4., 3., 2., -5., 6., -7., 8.]));
    // Neighbours: pairs (1, 2) and (3, 4), then (5, 6) and (7, 8).
    let y = rotary().int("interleaved", 1).run1(&[x.clone(), cos.clone(), sin.clone()]);
    assert_close(&y, &t(&[1, 1, 2, 4], &[1f32, 2., -4., 3., -5., -6., 7., 8.]));
    // Rows of a table by position: both tokens take the row of token 0, then of token 1.
    let tables = [&cos, &sin].map(|x| t(&[2, 2], x.as_slice::<f32>().unwrap()));
    let at = t(&[1, 2], &[1i64, 0]);
    let y = rotary().run1(&[x.clone(), tables[0].clone(), tables[1].clone(), at]);
    assert_close(&y, &t(&[1, 1, 2, 4], &[-1f32, 2., -3., 4., 5., -8., 7., 6.]));
    let far = t(&[1, 2], &[2i64, 0]);
    assert!(rotary().run(&[x.clone(), tables[0].clone(), tables[1].clone(), far]).is_err());
    assert!(rotary().run(&[x, tables[0].clone(), tables[1].clone()]).is_err());
}

/// By the formula, for (batch, heads, length, size) and angles a token.
fn turned(x: &Tensor, cos: &[f64], sin: &[f64], pairs: usize, interleaved: bool) -> Vec<f64> {
    let &[batch, heads, length, size] = x.dims() else { panic!("a tensor by head") };
    let mut y = x.to_f64_vec().unwrap();
    for i in 0..batch * heads * length {
        let token = i / (heads * length) * length + i % length;
        for p in 0..pairs {
            let (a, b) = if interleaved { (2 * p, 2 * p + 1) } else { (p, p + pairs) };
            let (c, s) = (cos[token * pairs + p], sin[token * pairs + p]);
            let (u, v) = (y[i * size + a], y[i * size + b]);
            y[i * size + a] = c * u - s * v;
            y[i * size + b] = s * u + c * v;
        }
    }
    y
}

#[test]
fn layouts_parts_and_types() {
    let x = wave(&[2, 3, 5, 8], 1);
    for interleaved in [false, true] {
        for (dim, pairs) in [(0, 4), (6, 3)] {
            let (cos, sin) = (wave(&[2, 5, pairs], 2), wave(&[2, 5, pairs], 3));
            let tables = [&cos, &sin].map(|x| x.to_f64_vec().unwrap());
            let expected = turned(&x, &tables[0], &tables[1], pairs, interleaved);
            let op = || {
                let op = rotary().int("interleaved", i64::from(interleaved));
                op.int("rotary_embedding_dim", dim)
            };
            let y = op().run1(&[x.clone(), cos.clone(), sin.clone()]);
            assert_near(&y, &expected, 1e-6);
            assert_eq!(op().threads(2).run1(&[x.clone(), cos.clone(), sin.clone()]), y);
            // Tokens before heads.
            let swap = || Op::onnx("Transpose", 13).ints("perm", &[0, 2, 1, 3]);
            let flat = |x: &Tensor| {
                let x = swap().run1(std::slice::from_ref(x));
                t(&[2, 5, 24], x.as_slice::<f32>().unwrap())
            };
            let packed = op().int("num_heads", 3).run1(&[flat(&x), cos.clone(), sin.clone()]);
            assert_eq!(packed, flat(&y));
            assert!(op().run(&[flat(&x), cos.clone(), sin.clone()]).is_err());
            let narrow = [&x, &cos, &sin].map(|x| {
                let v = x.as_slice::<f32>().unwrap().iter().map(|&x| bf16::from_f32(x)).collect();
                Tensor::new(x.shape().clone(), Data::BF16(v)).unwrap()
            });
            let y = op().run1(&narrow);
            assert!(matches!(y.data(), Data::BF16(_)));
            assert_near(&y, &expected, 3e-2);
        }
    }
    let angles = wave(&[2, 5, 4], 2);
    let odd = rotary().int("rotary_embedding_dim", 7);
    assert!(odd.run(&[x.clone(), angles.clone(), angles.clone()]).is_err());
    assert!(rotary().run(&[x.clone(), angles.clone(), wave(&[2, 5, 3], 1)]).is_err());
    let wide = rotary().int("rotary_embedding_dim", 10);
    let five = wave(&[2, 5, 5], 1);
    assert!(wide.run(&[x, five.clone(), five]).is_err());
    let none = t::<f32>(&[2, 3, 0, 8], &[]);
    let empty = t::<f32>(&[2, 0, 4], &[]);
    assert_eq!(rotary().run1(&[none.clone(), empty.clone(), empty]), none);
}

#[test]
fn positions_of_the_other_domain() {
    let x = wave(&[2, 3, 5, 8], 1);
    let (cos, sin) = (wave(&[9, 4], 2), wave(&[9, 4], 3));
    let rows = |at: &[usize]| {
        let of = |x: &Tensor| {
            let v = x.to_f64_vec().unwrap();
            at.iter().flat_map(|&i| v[i * 4..i * 4 + 4].to_vec()).collect::<Vec<f64>>()
        };
        (of(&cos), of(&sin))
    };
    let (c, s) = rows(&[2, 3, 4, 5, 6, 2, 3, 4, 5, 6]);
    let y = microsoft().run1(&[x.clone(), t(&[1], &[2i64]), cos.clone(), sin.clone()]);
    assert_near(&y, &turned(&x, &c, &s, 4, false), 1e-6);
    let ids = [0i64, 8, 1, 7, 2, 3, 3, 3, 4, 5];
    let (c, s) = rows(&ids.map(|i| i as usize));
    let y = microsoft().run1(&[x.clone(), t(&[2, 5], &ids), cos.clone(), sin.clone()]);
    assert_near(&y, &turned(&x, &c, &s, 4, false), 1e-6);
    // Heads are as wide as the angles say.
    let swap = || Op::onnx("Transpose", 13).ints("perm", &[0, 2, 1, 3]);
    let flat = |x: &Tensor| {
        let x = swap().run1(std::slice::from_ref(x));
        t(&[2, 5, 24], x.as_slice::<f32>().unwrap())
    };
    let packed = microsoft().run1(&[flat(&x), t(&[2, 5], &ids), cos.clone(), sin.clone()]);
    assert_eq!(packed, flat(&y));
    let (half_cos, half_sin) = (wave(&[9, 2], 2), wave(&[9, 2], 3));
    let part = microsoft().int("rotary_embedding_dim", 4).int("num_heads", 3);
    let inputs = [flat(&x), t(&[2, 5], &ids), half_cos.clone(), half_sin.clone()];
    let by_head = [x.clone(), t(&[2, 5], &ids), half_cos, half_sin];
    assert_eq!(part.run1(&inputs), flat(&part.run1(&by_head)));
    for bad in [5i64, -1, 9] {
        let inputs = [x.clone(), t(&[1], &[bad]), cos.clone(), sin.clone()];
        assert!(microsoft().run(&inputs).is_err());
    }
    let scaled = microsoft().float("scale", 2.0);
    assert!(scaled.run(&[x, t(&[1], &[0i64]), cos, sin]).is_err());
}
