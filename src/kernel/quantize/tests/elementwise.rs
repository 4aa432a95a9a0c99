use crate::kernel::testing::{Op, t};
use crate::tensor::{Tensor, Value};

fn microsoft(op: &'static str) -> Op {
    Op::new("com.microsoft", op, 1)
}

fn f(v: f32) -> Tensor {
    t(&[], &[v])
}

fn u(v: u8) -> Tensor {
    t(&[], &[v])
}

/// With left-out inputs.
fn run(op: Op, inputs: &[Option<Tensor>]) -> Tensor {
    let inputs: Vec<_> = inputs.iter().cloned().map(|t| t.map(Value::Tensor)).collect();
    op.run_values(&inputs).unwrap().remove(0).into_tensor().unwrap()
}

#[test]
fn sums_and_products_of_levels() {
    let a = t(&[2, 2], &[10u8, 20, 30, 255]);
    let b = t(&[2], &[1u8, 201]);
    let inputs = [a.clone(), f(0.5), u(10), b.clone(), f(2.0), u(1), f(1.0), u(100)];
    // A is 0, 5, 10, 122.5; B is 0, 400.
    assert_eq!(microsoft("QLinearAdd").run1(&inputs), t(&[2, 2], &[100u8, 255, 110, 255]));
    let inputs = [a, f(0.5), u(10), b, f(0.25), u(1), f(10.0), u(3)];
    // 0, 5 · 50, 0, 122.5 · 50 by 10.
    assert_eq!(microsoft("QLinearMul").run1(&inputs), t(&[2, 2], &[3u8, 28, 3, 255]));
    let one = || Some(f(1.0));
    let (a, b) = (t(&[2], &[-100i8, 100]), t(&[1], &[-100i8]));
    let inputs = [Some(a), one(), None, Some(b), one(), None, one()];
    assert_eq!(run(microsoft("QLinearAdd"), &inputs), t(&[2], &[-128i8, 0]));
    let mixed = [t(&[1], &[1u8]), f(1.0), u(0), t(&[1], &[1i8]), f(1.0), u(0), f(1.0), u(0)];
    assert!(microsoft("QLinearAdd").run(&mixed).is_err());
}

#[test]
fn functions_by_table() {
    // Steps of 1/16 around 128, to steps of 1/256: 1 / (1 + e^-x) of -8, -1, 0, 1, 7.9375.
    let x = t(&[5], &[0u8, 112, 128, 144, 255]);
    let out = microsoft("QLinearSigmoid").run1(&[x, f(0.0625), u(128), f(0.00390625), u(0)]);
    assert_eq!(out, t(&[5], &[0u8, 69, 128, 187, 255]));
    let x = t(&[3], &[-100i8, 0, 100]);
    let op = microsoft("QLinearLeakyRelu").float("alpha", 0.1);
    let inputs = [Some(x), Some(f(1.0)), None, Some(f(0.5)), Some(t(&[], &[-28i8]))];
    assert_eq!(run(op, &inputs), t(&[3], &[-48i8, -28, 127]));
}

#[test]
fn parts_are_joined_in_one_scale() {
    let (a, b) = (t(&[1, 2], &[1u8, 2]), t(&[1, 2], &[10u8, 30]));
    let inputs = [f(0.5), u(100), a, f(0.5), u(100), b, f(1.0), u(20)];
    let out = microsoft("QLinearConcat").int("axis", 1).run1(&inputs);
    assert_eq!(out, t(&[1, 4], &[1u8, 2, 80, 120]));
    assert!(microsoft("QLinearConcat").int("axis", 1).run(&inputs[..7]).is_err());
}

#[test]
fn a_choice_is_in_the_scale_of_the_result() {
    let inputs = [
        t(&[2, 1], &[true, false]),
        t(&[2], &[1u8, 2]),
        f(1.0),
        u(0),
        t(&[1], &[10u8]),
        f(0.5),
        u(4),
        f(0.5),
        u(100),
    ];
    // 1 and 2, or 3, in halves above 100.
    let out = microsoft("QLinearWhere").run1(&inputs);
    assert_eq!(out, t(&[2, 2], &[102u8, 104, 106, 106]));
}

#[test]
fn means_of_levels() {
    let x = t(&[1, 2, 2, 2], &[1u8, 2, 3, 4, 10, 20, 30, 41]);
    let inputs = [x, f(1.0), u(1), f(0.5), u(7)];
    // Means 1.5 and 24.25, in halves 3 and 48.5.
    let out = microsoft("QLinearGlobalAveragePool").run1(&inputs);
    assert_eq!(out, t(&[1, 2, 1, 1], &[10u8, 55]));
    let x = t(&[1, 2, 2, 2], &[1u8, 10, 2, 20, 3, 30, 4, 41]);
    let inputs = [x, f(1.0), u(1), f(0.5), u(7)];
    let out = microsoft("QLinearGlobalAveragePool").int("channels_last", 1).run1(&inputs);
    assert_eq!(out, t(&[1, 1, 1, 2], &[10u8, 55]));

    let x = t(&[1, 1, 4], &[0i8, 4, 8, 20]);
    let inputs = [Some(x.clone()), Some(f(0.5)), None, Some(f(1.0)), Some(t(&[], &[1i8]))];
    // 1, 3, 7 and the zero point.
    let op = microsoft("QLinearAveragePool").ints("kernel_shape", &[2]);
    assert_eq!(run(op, &inputs), t(&[1, 1, 3], &[2i8, 4, 8]));
    let op = microsoft("QLinearReduceMean").ints("axes", &[2]).int("keepdims", 0);
    assert_eq!(run(op, &inputs), t(&[1, 1], &[5i8]));
}

#[test]
fn softmax_of_levels() {
    // 0, ln 3: a quarter and three.
    let scale = 3f32.ln() / 10.0;
    let x = t(&[1, 4], &[20u8, 30, 25, 25]);
    let op = || microsoft("QLinearSoftmax").int("opset", 13);
    let pairs = t(&[2, 2], &[20u8, 30, 25, 25]);
    let rest = [f(scale), u(0), f(1.0 / 256.0), u(0)];
    let with = |x: &Tensor| [&[x.clone()][..], &rest].concat();
    assert_eq!(op().run1(&with(&pairs)), t(&[2, 2], &[64u8, 192, 128, 128]));
    let turned = t(&[2, 2], &[20u8, 25, 30, 25]);
    let out = op().int("axis", 0).run1(&with(&turned));
    assert_eq!(out, t(&[2, 2], &[64u8, 128, 192, 128]));
    // Before 13 all axes from the given one on are a row: 1, 3 and twice the root of 3.
    let old = microsoft("QLinearSoftmax").int("opset", 12).int("axis", 0);
    let out = old.run1(&with(&pairs));
    let total = 4.0 + 2.0 * 3f32.sqrt();
    let level = |v: f32| (v * 256.0 / total).round() as u8;
    let root = level(3f32.sqrt());
    assert_eq!(out, t(&[2, 2], &[level(1.0), level(3.0), root, root]));
    assert!(microsoft("QLinearSoftmax").run(&with(&x)).is_err());
    // A probability of 1 saturates.
    let signed = [t(&[1], &[5i8]), f(1.0), t(&[], &[0i8]), f(1.0 / 256.0), t(&[], &[-128i8])];
    assert_eq!(op().run1(&signed), t(&[1], &[127i8]));
}
