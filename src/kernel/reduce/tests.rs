use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::Tensor;

fn cube() -> Tensor {
    t(&[2, 3, 2], &(1..=12).map(|v| v as f32).collect::<Vec<_>>())
}

#[test]
fn axes_come_as_attribute_or_input() {
    let old = Op::onnx("ReduceSum", 11).ints("axes", &[1]).run1(&[cube()]);
    assert_eq!(old, t(&[2, 1, 2], &[9f32, 12.0, 27.0, 30.0]));
    let new = Op::onnx("ReduceSum", 13).int("keepdims", 0);
    let axes = |v: &[i64]| t(&[v.len()], v);
    assert_eq!(new.run1(&[cube(), axes(&[1])]), t(&[2, 2], &[9f32, 12.0, 27.0, 30.0]));
    assert_eq!(new.run1(&[cube(), axes(&[-1])]), t(&[2, 3], &[3f32, 7.0, 11.0, 15.0, 19.0, 23.0]));
    assert_eq!(new.run1(&[cube(), axes(&[0, 2])]), t(&[3], &[18f32, 26.0, 34.0]));
    assert_eq!(new.run1(&[cube(), axes(&[2, 0])]), t(&[3], &[18f32, 26.0, 34.0]));
    assert_eq!(new.run1(&[cube(), axes(&[0])]), t(&[3, 2], &[8f32, 10.0, 12.0, 14.0, 16.0, 18.0]));
    assert_eq!(new.run1(&[cube()]), t(&[], &[78f32]));
    assert_eq!(new.run1(&[cube(), axes(&[])]), t(&[], &[78f32]));
    let noop = Op::onnx("ReduceSum", 13).int("noop_with_empty_axes", 1);
    assert_eq!(noop.run1(&[cube()]), cube());
    assert!(new.run(&[cube(), axes(&[3])]).is_err());
}

#[test]
fn every_reduction() {
    let x = t(&[1, 4], &[-1f32, 2.0, 3.0, -4.0]);
    let run =
        |op, x: &Tensor| Op::onnx(op, 18).int("keepdims", 0).run1(&[x.clone(), t(&[1], &[1i64])]);
    for (op, expected) in [
        ("ReduceSum", 0f32),
        ("ReduceMean", 0.0),
        ("ReduceMax", 3.0),
        ("ReduceMin", -4.0),
        ("ReduceProd", 24.0),
        ("ReduceL1", 10.0),
        ("ReduceL2", 5.477_226),
        ("ReduceSumSquare", 30.0),
        ("ReduceLogSumExp", 3.327_220_3),
    ] {
        assert_close(&run(op, &x), &t(&[1], &[expected]));
        let wide = run(op, &t(&[1, 4], &x.to_f64_vec().unwrap()));
        assert_close(&wide, &t(&[1], &[expected]));
    }
    assert_close(&run("ReduceLogSum", &t(&[1, 2], &[1f32, 2.0])), &t(&[1], &[1.098_612_3f32]));
    let ints = t(&[1, 3], &[-7i32, 2, 2]);
    assert_eq!(run("ReduceMean", &ints), t(&[1], &[-1i32]));
    assert_eq!(run("ReduceL1", &ints), t(&[1], &[11i32]));
    let nan = t(&[1, 3], &[1f32, f32::NAN, 2.0]);
    assert!(run("ReduceMax", &nan).as_slice::<f32>().unwrap()[0].is_nan());
    assert!(run("ReduceMin", &nan).as_slice::<f32>().unwrap()[0].is_nan());
    let bools = Op::onnx("ReduceMax", 20).run1(&[t(&[2], &[false, true])]);
    assert_eq!(bools, t(&[1], &[true]));
}

#[test]
fn empty_reductions_are_neutral() {
    let x = t::<f32>(&[2, 0], &[]);
    let run = |op| {
        let out = Op::onnx(op, 18).int("keepdims", 0).run1(&[x.clone(), t(&[1], &[1i64])]);
        assert_eq!(out.dims(), [2]);
        out.as_slice::<f32>().unwrap()[0]
    };
    assert_eq!(run("ReduceSum"), 0.0);
    assert_eq!(run("ReduceProd"), 1.0);
    assert_eq!(run("ReduceMax"), f32::NEG_INFINITY);
    assert_eq!(run("ReduceMin"), f32::INFINITY);
    assert_eq!(run("ReduceLogSumExp"), f32::NEG_INFINITY);
    assert!(run("ReduceMean").is_nan());
    let middle = t::<f32>(&[2, 0, 3], &[]);
    let out = Op::onnx("ReduceSum", 13).run1(&[middle, t(&[1], &[1i64])]);
    assert_eq!(out, t(&[2, 1, 3], &[0f32; 6]));
    assert!(Op::onnx("ArgMax", 13).int("axis", 1).run(&[x]).is_err());
}

#[test]
fn arg_extrema_choose_first_or_last() {
    let x = t(&[2, 3], &[1f32, 3.0, 3.0, 5.0, 4.0, 5.0]);
    let max = Op::onnx("ArgMax", 13).int("axis", 1);
    assert_eq!(max.run1(std::slice::from_ref(&x)), t(&[2, 1], &[1i64, 0]));
    let last =
        Op::onnx("ArgMax", 13).int("axis", -1).int("keepdims", 0).int("select_last_index", 1);
    assert_eq!(last.run1(std::slice::from_ref(&x)), t(&[2], &[2i64, 2]));
    let min = Op::onnx("ArgMin", 13).int("keepdims", 0);
    assert_eq!(min.run1(&[x]), t(&[3], &[0i64, 0, 0]));
}

#[test]
fn running_sums() {
    let x = t(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
    let axis = |a: i64| t(&[], &[a]);
    let sum = |op: Op, a| op.run1(&[x.clone(), axis(a)]);
    assert_eq!(sum(Op::onnx("CumSum", 14), 1), t(&[2, 3], &[1i32, 3, 6, 4, 9, 15]));
    assert_eq!(sum(Op::onnx("CumSum", 14), 0), t(&[2, 3], &[1i32, 2, 3, 5, 7, 9]));
    let op = Op::onnx("CumSum", 14).int("exclusive", 1).int("reverse", 1);
    assert_eq!(sum(op, -1), t(&[2, 3], &[5i32, 3, 0, 11, 6, 0]));
}

#[test]
fn running_products() {
    let x = t(&[2, 3], &[1i32, 2, 3, 4, 5, i32::MAX]);
    let axis = |a: i64| t(&[], &[a]);
    let product = |op: Op, a| op.run1(&[x.clone(), axis(a)]);
    let wrapped = i32::MAX.wrapping_mul(20);
    let expected = t(&[2, 3], &[1, 2, 6, 4, 20, wrapped]);
    assert_eq!(product(Op::onnx("CumProd", 26), 1), expected);
    let op = Op::onnx("CumProd", 26).int("exclusive", 1);
    assert_eq!(product(op, -2), t(&[2, 3], &[1, 1, 1, 1, 2, 3]));
    let op = Op::onnx("CumProd", 26).int("exclusive", 1).int("reverse", 1);
    let y = op.run1(&[t(&[3], &[1.5f32, 2.0, 3.0]), axis(0)]);
    assert_eq!(y, t(&[3], &[6f32, 3.0, 1.0]));
    let half = half::f16::from_f32;
    let y = Op::onnx("CumProd", 26).run1(&[t(&[2], &[half(1.5), half(2.0)]), axis(0)]);
    assert_eq!(y, t(&[2], &[half(1.5), half(3.0)]));
}
