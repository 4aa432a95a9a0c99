use crate::attribute::{Attribute, Attributes};
use crate::kernel::elementwise::tests::{assert_rows_match, rows};
use crate::kernel::testing::{Op, assert_close, t};
use half::f16;

fn run(op: Op, x: &[f32]) -> Vec<f32> {
    op.run1(&[t(&[x.len()], x)]).into_vec::<f32>().unwrap()
}

/// Expected values are of double-precision formulas, rounded.
const X: [f32; 5] = [-2.5, -0.5, 0.0, 0.5, 2.5];

fn check(op: Op, expected: [f32; 5]) {
    assert_close(&op.run1(&[t(&[5], &X)]), &t(&[5], &expected));
}

#[test]
fn activations_have_their_reference_values() {
    check(Op::onnx("Relu", 14), [0.0, 0.0, 0.0, 0.5, 2.5]);
    check(Op::onnx("LeakyRelu", 16).float("alpha", 0.1), [-0.25, -0.05, 0.0, 0.5, 2.5]);
    check(Op::onnx("Elu", 6).float("alpha", 2.0), [-1.835_83, -0.786_938_7, 0.0, 0.5, 2.5]);
    check(Op::onnx("Selu", 6), [-1.613_787_5, -0.691_758_16, 0.0, 0.525_350_5, 2.626_752_5]);
    check(Op::onnx("Celu", 12).float("alpha", 2.0), [-1.426_990_4, -0.442_398_43, 0.0, 0.5, 2.5]);
    check(Op::onnx("ThresholdedRelu", 10), [0.0, 0.0, 0.0, 0.0, 2.5]);
    check(Op::onnx("Sigmoid", 13), [0.075_858_18, 0.377_540_67, 0.5, 0.622_459_3, 0.924_141_8]);
    check(Op::onnx("HardSigmoid", 6), [0.0, 0.4, 0.5, 0.6, 1.0]);
    check(
        Op::onnx("HardSwish", 14),
        [-0.208_333_33, -0.208_333_33, 0.0, 0.291_666_66, 2.291_666_7],
    );
    check(
        Op::onnx("Softplus", 1),
        [0.078_889_73, 0.474_077, std::f32::consts::LN_2, 0.974_077, 2.578_89],
    );
    check(Op::onnx("Softsign", 1), [-0.714_285_7, -1.0 / 3.0, 0.0, 1.0 / 3.0, 0.714_285_7]);
    check(Op::onnx("Gelu", 20), [-0.015_524_16, -0.154_268_77, 0.0, 0.345_731_23, 2.484_476]);
    let tanh = Op::onnx("Gelu", 20).string("approximate", "tanh");
    check(tanh, [-0.015_084_266, -0.154_286, 0.0, 0.345_714, 2.484_915_7]);
    check(Op::onnx("Mish", 18), [-0.196_816_2, -0.220_743_78, 0.0, 0.375_245_2, 2.471_392_4]);
    check(Op::onnx("Swish", 24), [-0.189_645_45, -0.188_770_34, 0.0, 0.311_229_65, 2.310_354_7]);
    let shrink = Op::onnx("Shrink", 9).float("lambd", 1.0).float("bias", 0.5);
    check(shrink, [-2.0, 0.0, 0.0, 0.0, 2.0]);
    let quick = Op::new("com.microsoft", "QuickGelu", 1);
    check(quick, [-0.034_986_164, -0.149_611_56, 0.0, 0.350_388_44, 2.465_013_7]);
}

#[test]
fn elementary_functions() {
    check(Op::onnx("Erf", 13), [-0.999_593, -0.520_499_9, 0.0, 0.520_499_9, 0.999_593]);
    check(Op::onnx("Tanh", 13), [-0.986_614_3, -0.462_117_16, 0.0, 0.462_117_16, 0.986_614_3]);
    check(Op::onnx("Atan", 7), [-1.190_289_9, -0.463_647_6, 0.0, 0.463_647_6, 1.190_289_9]);
    assert_eq!(run(Op::onnx("Round", 11), &[0.5, 1.5, 2.5, -0.5]), [0.0, 2.0, 2.0, 0.0]);
    assert_eq!(run(Op::onnx("Ceil", 13), &[-1.5, 1.2]), [-1.0, 2.0]);
    assert_eq!(run(Op::onnx("Sign", 13), &[-3.0, 0.0, 2.0]), [-1.0, 0.0, 1.0]);
    assert_eq!(run(Op::onnx("Reciprocal", 13), &[4.0, 0.0]), [0.25, f32::INFINITY]);
    for op in ["Relu", "Sign", "Tanh", "Softplus", "HardSwish", "Elu", "Selu", "Mish", "Gelu"] {
        let version = if op == "Gelu" { 20 } else { 18 };
        assert!(run(Op::onnx(op, version), &[f32::NAN])[0].is_nan(), "{op}");
    }
    let erf = Op::onnx("Erf", 13).run1(&[t(&[3], &[0.5f64, -3.5, 8.0])]);
    let expected = [0.520_499_877_813_046_5, -0.999_999_256_901_627_7, 1.0];
    for (g, e) in erf.as_slice::<f64>().unwrap().iter().zip(expected) {
        assert!((g - e).abs() < 1e-15);
    }
    let half = Op::onnx("Sqrt", 13).run1(&[t(&[1], &[f16::from_f32(2.25)])]);
    assert_eq!(half, t(&[1], &[f16::from_f32(1.5)]));
}

#[test]
fn integers_where_the_operator_has_them() {
    assert_eq!(Op::onnx("Abs", 13).run1(&[t(&[2], &[-3i8, i8::MIN])]), t(&[2], &[3i8, i8::MIN]));
    assert_eq!(Op::onnx("Neg", 13).run1(&[t(&[1], &[5i64])]), t(&[1], &[-5i64]));
    assert_eq!(Op::onnx("Relu", 14).run1(&[t(&[2], &[-5i32, 5])]), t(&[2], &[0i32, 5]));
    assert_eq!(Op::onnx("Sign", 13).run1(&[t(&[1], &[u64::MAX])]), t(&[1], &[1u64]));
    assert!(Op::onnx("Exp", 13).run(&[t(&[1], &[1i32])]).is_err());
    assert!(Op::onnx("Abs", 13).run(&[t(&[1], &[true])]).is_err());
}

#[test]
fn clip_by_attributes_and_by_inputs() {
    let old = Op::onnx("Clip", 6).float("min", -1.0).float("max", 1.0);
    assert_eq!(run(old, &[-3.0, 0.5, 3.0]), [-1.0, 0.5, 1.0]);
    let new = Op::onnx("Clip", 13);
    let out = new.run1(&[t(&[3], &[-3i64, 0, 3]), t(&[], &[-1i64]), t(&[1], &[2i64])]);
    assert_eq!(out, t(&[3], &[-1i64, 0, 2]));
    let upper = new.run_values(&[
        Some(t(&[2], &[f32::NAN, 3.0]).into()),
        None,
        Some(t(&[], &[1f32]).into()),
    ]);
    let upper = upper.unwrap().remove(0).into_tensor().unwrap();
    let upper = upper.as_slice::<f32>().unwrap();
    assert!(upper[0].is_nan() && upper[1] == 1.0);
    assert!(new.run(&[t(&[1], &[1f32]), t(&[2], &[1f32, 2.0])]).is_err());
}

#[test]
fn slopes_and_biases() {
    let x = t(&[1, 2, 2], &[-1f32, 2.0, -3.0, -4.0]);
    let slope = t(&[2, 1], &[0.5f32, 0.1]);
    let out = Op::onnx("PRelu", 16).run1(&[x.clone(), slope]);
    assert_close(&out, &t(&[1, 2, 2], &[-0.5f32, 2.0, -0.3, -0.4]));
    let old = Op::onnx("PRelu", 6).run1(&[x.clone(), t(&[2], &[0.5f32, 0.1])]);
    assert_eq!(old, out);
    assert!(Op::onnx("PRelu", 16).run(&[t(&[1], &[1f32]), t(&[2], &[1f32, 1.0])]).is_err());
    let biased = Op::new("com.microsoft", "BiasGelu", 1);
    let out = biased.run1(&[t(&[1, 2], &[0f32, -1.0]), t(&[2], &[0.5f32, 0.5])]);
    assert_close(&out, &t(&[1, 2], &[0.345_731_23f32, -0.154_268_77]));
}

#[test]
fn row_functions_give_the_same_bits() {
    let none = Attributes::default();
    for op in ["Relu", "Sigmoid", "Tanh", "Exp", "Elu", "Gelu", "Softplus", "Swish"] {
        assert_rows_match(op, 24, &none, &[(rows(3, 37), false)]);
    }
    for op in ["Softmax", "LogSoftmax", "Hardmax"] {
        assert_rows_match(op, 13, &none, &[(rows(3, 301), false)]);
    }
    let bound = (t(&[], &[-1f32]), true);
    assert_rows_match("Clip", 13, &none, &[(rows(3, 5), false), bound]);
    let mut attributes = Attributes::default();
    attributes.set("max", Attribute::Float(1.0));
    assert_rows_match("Clip", 6, &attributes, &[(rows(3, 5), false)]);
}
