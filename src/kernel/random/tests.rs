use crate::error::ErrorKind;
use crate::kernel::testing::{Op, t};
use crate::tensor::{ElementType, Tensor};

fn moments(x: &Tensor) -> (f64, f64) {
    let v = x.to_f64_vec().unwrap();
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    (mean, (v.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / v.len() as f64).sqrt())
}

#[test]
fn uniform_numbers_fill_their_range() {
    let op = Op::onnx("RandomUniform", 22).ints("shape", &[100, 100]).float("seed", 1.0);
    let x = op.float("low", -1.0).float("high", 3.0).run1(&[]);
    assert_eq!((x.dims(), x.dtype()), (&[100, 100][..], ElementType::F32));
    assert!(x.to_f64_vec().unwrap().iter().all(|v| (-1.0..=3.0).contains(v)));
    let (mean, deviation) = moments(&x);
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
    assert!((deviation - 4.0 / 12f64.sqrt()).abs() < 0.05, "{deviation}");
}

#[test]
fn normal_numbers_have_their_moments_and_types() {
    for (dtype, expected) in [
        (1, ElementType::F32),
        (10, ElementType::F16),
        (11, ElementType::F64),
        (16, ElementType::BF16),
    ] {
        let op = Op::onnx("RandomNormalLike", 22).int("dtype", dtype).float("seed", 2.0);
        let x = op.float("mean", 5.0).float("scale", 2.0).run1(&[t(&[10_001], &[true; 10_001])]);
        assert_eq!((x.dims(), x.dtype()), (&[10_001][..], expected));
        let (mean, deviation) = moments(&x);
        assert!((mean - 5.0).abs() < 0.1 && (deviation - 2.0).abs() < 0.1, "{mean} {deviation}");
    }
}

#[test]
fn a_seed_repeats_and_its_absence_does_not() {
    let normal = || Op::onnx("RandomNormal", 1).ints("shape", &[4]);
    assert_eq!(normal().float("seed", 3.0).run1(&[]), normal().float("seed", 3.0).run1(&[]));
    assert_ne!(normal().float("seed", 3.0).run1(&[]), normal().float("seed", 4.0).run1(&[]));
    assert_ne!(normal().run1(&[]), normal().run1(&[]));
    let like = Op::onnx("RandomUniformLike", 1);
    let x = t(&[2, 2], &[0f64; 4]);
    let (a, b) = (like.run1(std::slice::from_ref(&x)), like.run1(&[x]));
    assert_eq!(a.dtype(), ElementType::F64);
    assert_ne!(a, b);
}

#[test]
fn bernoulli_follows_its_probabilities() {
    let op = Op::onnx("Bernoulli", 15).float("seed", 5.0);
    let p: Vec<f32> = (0..4000).map(|i| [0.0, 1.0, 0.25, 0.25][i % 4]).collect();
    let x = op.run1(&[t(&[4000], &p)]);
    let v = x.as_slice::<f32>().unwrap();
    assert!(v.chunks(4).all(|c| c[0] == 0.0 && c[1] == 1.0));
    let hits = v.chunks(4).map(|c| c[2] + c[3]).sum::<f32>();
    assert!((400.0..600.0).contains(&hits), "{hits}");
    let x = Op::onnx("Bernoulli", 22).int("dtype", 9).run1(&[t(&[2], &[1f64, 0.0])]);
    assert_eq!(x, t(&[2], &[true, false]));
    for bad in [-0.1f32, 1.1, f32::NAN] {
        assert!(Op::onnx("Bernoulli", 15).run(&[t(&[1], &[bad])]).is_err());
    }
}

#[test]
fn multinomial_follows_its_weights() {
    let op = Op::onnx("Multinomial", 7).int("sample_size", 4000).float("seed", 6.0);
    let none = f32::NEG_INFINITY;
    // Weights 0 : 1 : 0 : 3, up to a factor; and only the last.
    let far = 1000.0;
    let logits = [none, far, none, far + 3f32.ln(), none, none, none, -7.0];
    let x = op.run1(&[t(&[2, 4], &logits)]);
    assert_eq!((x.dims(), x.dtype()), (&[2, 4000][..], ElementType::I32));
    let (first, second) = x.as_slice::<i32>().unwrap().split_at(4000);
    assert!(second.iter().all(|&class| class == 3));
    let ones = first.iter().filter(|&&class| class == 1).count();
    let threes = first.iter().filter(|&&class| class == 3).count();
    assert_eq!(ones + threes, 4000);
    assert!((900..1100).contains(&ones), "{ones}");
    let x = Op::onnx("Multinomial", 7).int("dtype", 7).run1(&[t(&[1, 2], &[0f64, none.into()])]);
    assert_eq!(x, t(&[1, 1], &[0i64]));
    for bad in [t(&[1, 2], &[none; 2]), t(&[1, 0], &[0f32; 0]), t(&[1, 1], &[f32::NAN])] {
        let e = Op::onnx("Multinomial", 7).run(&[bad]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }
}
