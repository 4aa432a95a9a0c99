use crate::attribute::Attributes;
use crate::error::ErrorKind;
use crate::kernel::testing::{Op, t};
use crate::kernel::{Arena, Arg, Context, InputSpec, Inputs, OpSpec, registry};
use crate::limits::{LoadLimits, RequestLimits};
use crate::tensor::{Tensor, Value};
use crate::threads::Threads;

/// Asserts that the operator's row function gives the same bits as the operator itself, on the
/// whole batch and row by row. `inputs` are 2-D rows of f32, or constants.
pub(in crate::kernel) fn assert_rows_match(
    op: &str,
    version: i64,
    attributes: &Attributes,
    inputs: &[(Tensor, bool)],
) {
    let values: Vec<Value> = inputs.iter().map(|(t, _)| Value::Tensor(t.clone())).collect();
    let specs: Vec<InputSpec<'_>> = values
        .iter()
        .zip(inputs)
        .map(|(v, (_, constant))| InputSpec { present: true, constant: constant.then_some(v) })
        .collect();
    let limits = LoadLimits::default();
    let spec = OpSpec {
        op,
        domain: "",
        version,
        node: "test",
        attributes,
        inputs: &specs,
        outputs: &[true],
        limits: &limits,
    };
    let kernel = registry::prepare(&spec).unwrap();
    let (threads, limits, mut arena) =
        (Threads::new(1), RequestLimits::default(), Arena::default());
    let mut ctx = Context {
        threads: &threads,
        limits: &limits,
        arena: &mut arena,
        deadline: None,
        cancel: None,
    };
    let args = values.iter().map(Arg::Borrowed).collect();
    let out = kernel.run(&mut ctx, &mut Inputs::new(args)).unwrap().remove(0);
    let expected = out.into_tensor().unwrap().into_vec::<f32>().unwrap();

    let row_op = kernel.row_op().expect("a row function");
    let live: Vec<&Tensor> = inputs.iter().filter(|(_, c)| !c).map(|(t, _)| t).collect();
    let widths: Vec<usize> = live.iter().map(|t| t.dims()[1]).collect();
    let rows = live[0].dims()[0];
    let width = row_op.shape(&widths).unwrap().width;
    let slices: Vec<&[f32]> = live.iter().map(|t| t.as_slice::<f32>().unwrap()).collect();
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut got = vec![9.0; rows * width];
    row_op.run_rows(rows, &slices, &mut got, &mut []);
    assert_eq!(bits(&got), bits(&expected), "{op}");
    for i in 0..rows {
        let row: Vec<&[f32]> =
            slices.iter().zip(&widths).map(|(s, w)| &s[i * w..(i + 1) * w]).collect();
        let mut got = vec![9.0; width];
        row_op.run_rows(1, &row, &mut got, &mut []);
        assert_eq!(bits(&got), bits(&expected[i * width..(i + 1) * width]), "{op}, row {i}");
    }
}

/// Rows of assorted numbers.
pub(in crate::kernel) fn rows(n: usize, width: usize) -> Tensor {
    let v: Vec<f32> = (0..n * width).map(|i| ((i * 37 % 41) as f32 - 20.0) / 6.0).collect();
    t(&[n, width], &v)
}

#[test]
fn operands_broadcast_both_ways() {
    let a = t(&[2, 1, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = t(&[2, 1], &[10f32, 20.0]);
    let sum = Op::onnx("Sub", 14).run1(&[a.clone(), b.clone()]);
    let expected = [-9f32, -8.0, -7.0, -19.0, -18.0, -17.0, -6.0, -5.0, -4.0, -16.0, -15.0, -14.0];
    assert_eq!(sum, t(&[2, 2, 3], &expected));
    let back = Op::onnx("Sub", 14).run1(&[b, a]);
    assert_eq!(back, t(&[2, 2, 3], &expected.map(|v| -v)));
    let s = Op::onnx("Div", 14).run1(&[t(&[], &[6f32]), t(&[3], &[1f32, 2.0, 3.0])]);
    assert_eq!(s, t(&[3], &[6f32, 3.0, 2.0]));
    assert_eq!(Op::onnx("Add", 14).run1(&[t(&[], &[1i8]), t(&[], &[2i8])]), t(&[], &[3i8]));
    let empty = Op::onnx("Add", 14).run1(&[t::<f32>(&[0, 3], &[]), t(&[3], &[1f32; 3])]);
    assert_eq!(empty.dims(), [0, 3]);
    assert!(Op::onnx("Add", 14).run(&[t(&[2], &[1f32; 2]), t(&[3], &[1f32; 3])]).is_err());
    assert!(Op::onnx("Add", 14).run(&[t(&[2], &[1f32; 2]), t(&[2], &[1i32; 2])]).is_err());
}

#[test]
fn large_operands_split_over_threads() {
    let n = 300_000;
    let a = t(&[n], &(0..n as i64).collect::<Vec<_>>());
    let sum = Op::onnx("Mul", 14).threads(3).run1(&[a.clone(), a.clone()]);
    assert!(sum.as_slice::<i64>().unwrap().iter().enumerate().all(|(i, v)| *v == (i * i) as i64));
    let m = a.reshaped(crate::tensor::Shape::new(&[n / 3, 3]).unwrap()).unwrap();
    let sum = Op::onnx("Add", 14).threads(3).run1(&[m, t(&[3], &[0i64, 100, 200])]);
    let expected = |i: usize| (i + i % 3 * 100) as i64;
    assert!(sum.as_slice::<i64>().unwrap().iter().enumerate().all(|(i, v)| *v == expected(i)));
}

#[test]
fn old_versions_align_by_axis() {
    let op = Op::onnx("Add", 6).int("broadcast", 1).int("axis", 1);
    let sum = op.run1(&[t(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]), t(&[2], &[10f32, 20.0])]);
    assert_eq!(sum, t(&[1, 2, 2], &[11f32, 12.0, 23.0, 24.0]));
    assert!(op.run(&[t(&[2], &[1f32, 2.0]), t(&[2], &[1f32, 2.0])]).is_err());
}

#[test]
fn integers_wrap_and_refuse_zero() {
    let sum = Op::onnx("Add", 14).run1(&[t(&[1], &[i32::MAX]), t(&[1], &[1i32])]);
    assert_eq!(sum, t(&[1], &[i32::MIN]));
    let quotient = Op::onnx("Div", 14).run1(&[t(&[2], &[-7i64, i64::MIN]), t(&[2], &[2i64, -1])]);
    assert_eq!(quotient, t(&[2], &[-3i64, i64::MIN]));
    let zero = Op::onnx("Div", 14).run(&[t(&[1], &[1i32]), t(&[1], &[0i32])]);
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (a, b) = (t(&[4], &[-7i32, 7, -7, 7]), t(&[4], &[3i32, 3, -3, -3]));
    assert_eq!(Op::onnx("Mod", 13).run1(&[a.clone(), b.clone()]), t(&[4], &[2i32, 1, -1, -2]));
    let fmod = Op::onnx("Mod", 13).int("fmod", 1);
    assert_eq!(fmod.run1(&[a, b]), t(&[4], &[-1i32, 1, -1, 1]));
    assert!(Op::onnx("Mod", 13).run(&[t(&[1], &[1f32]), t(&[1], &[1f32])]).is_err());
    let (x, y) = (t(&[4], &[-5f32, 5.0, 0.0, -1.0]), t(&[4], &[3f32, -3.0, -2.0, f32::INFINITY]));
    let floored = Op::onnx("Mod", 28).run1(&[x, y]);
    assert_eq!(floored, t(&[4], &[1f32, -1.0, -0.0, f32::INFINITY]));
    assert!(floored.as_slice::<f32>().unwrap()[2].is_sign_negative());
    assert!(Op::onnx("Mod", 13).run(&[t(&[1], &[1u8]), t(&[1], &[0u8])]).is_err());
}

#[test]
fn powers_mix_types() {
    let pow = Op::onnx("Pow", 15);
    let p = |a: Tensor, b: Tensor| pow.run1(&[a, b]);
    assert_eq!(p(t(&[2], &[2f32, 3.0]), t(&[], &[2i64])), t(&[2], &[4f32, 9.0]));
    assert_eq!(p(t(&[2], &[2i32, 3]), t(&[2], &[3f32, 0.5])), t(&[2], &[8i32, 1]));
    assert_eq!(p(t(&[3], &[2i64, -1, -1]), t(&[3], &[-1i64, -3, -2])), t(&[3], &[0i64, -1, 1]));
    assert_eq!(p(t(&[1], &[2i64]), t(&[1], &[62i32])), t(&[1], &[1i64 << 62]));
    assert_eq!(p(t(&[1], &[4f64]), t(&[1], &[-0.5f32])), t(&[1], &[0.5f64]));
}

#[test]
fn variadic_functions_fold_and_hand_nan_on() {
    let (a, b, c) = (t(&[2], &[1f32, f32::NAN]), t(&[2], &[3f32, 1.0]), t(&[1], &[2f32]));
    let max = Op::onnx("Max", 13).run1(&[a.clone(), b.clone(), c.clone()]);
    let max = max.as_slice::<f32>().unwrap();
    assert!(max[0] == 3.0 && max[1].is_nan());
    let min = Op::onnx("Min", 13).run1(&[b.clone(), a]);
    assert!(min.as_slice::<f32>().unwrap()[1].is_nan());
    assert_eq!(Op::onnx("Mean", 13).run1(&[b.clone(), c.clone()]), t(&[2], &[2.5f32, 1.5]));
    assert_eq!(Op::onnx("Sum", 13).run1(&[b.clone(), c.clone(), c]), t(&[2], &[7f32, 5.0]));
    assert_eq!(Op::onnx("Sum", 13).run1(std::slice::from_ref(&b)), b);
    let ints = Op::onnx("Max", 13).run1(&[t(&[2], &[1u64, u64::MAX]), t(&[], &[5u64])]);
    assert_eq!(ints, t(&[2], &[5u64, u64::MAX]));
}

#[test]
fn bits() {
    let (a, b) = (t(&[2], &[0b1100u8, 0xff]), t(&[2], &[0b1010u8, 1]));
    let run = |op| Op::onnx(op, 18).run1(&[a.clone(), b.clone()]);
    assert_eq!(run("BitwiseAnd"), t(&[2], &[0b1000u8, 1]));
    assert_eq!(run("BitwiseOr"), t(&[2], &[0b1110u8, 0xff]));
    assert_eq!(run("BitwiseXor"), t(&[2], &[0b0110u8, 0xfe]));
    assert_eq!(Op::onnx("BitwiseNot", 18).run1(&[t(&[1], &[0i32])]), t(&[1], &[-1i32]));
    let left = Op::onnx("BitShift", 11).string("direction", "LEFT");
    assert_eq!(left.run1(&[a.clone(), t(&[2], &[1u8, 8])]), t(&[2], &[0b11000u8, 0]));
    let right = Op::onnx("BitShift", 11).string("direction", "RIGHT");
    assert_eq!(right.run1(&[a, t(&[2], &[2u8, 7])]), t(&[2], &[0b11u8, 1]));
    // Opset 28: signs are extended, and counts without sense shift everything out.
    let (x, by) = (t(&[5], &[-8i32, -8, 8, -8, 8]), t(&[5], &[1i32, -1, -1, 32, 40]));
    assert_eq!(right.run1(&[x.clone(), by.clone()]), t(&[5], &[-4i32, -1, 0, -1, 0]));
    assert_eq!(left.run1(&[x, by]), t(&[5], &[-16i32, 0, 0, 0, 0]));
}

#[test]
fn row_functions_give_the_same_bits() {
    let none = Attributes::default();
    let x = rows(5, 37);
    let row = t(&[37], rows(1, 37).as_slice::<f32>().unwrap());
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
        assert_rows_match(op, 14, &none, &[(x.clone(), false), (row.clone(), true)]);
        assert_rows_match(op, 14, &none, &[(row.clone(), true), (x.clone(), false)]);
        assert_rows_match(op, 14, &none, &[(x.clone(), false), (t(&[], &[3f32]), true)]);
        assert_rows_match(op, 14, &none, &[(t(&[1, 1], &[3f32]), true), (x.clone(), false)]);
        assert_rows_match(op, 14, &none, &[(x.clone(), false), (rows(5, 1), false)]);
        assert_rows_match(op, 14, &none, &[(rows(5, 1), false), (x.clone(), false)]);
        assert_rows_match(op, 14, &none, &[(rows(5, 1), false), (row.clone(), true)]);
        assert_rows_match(op, 14, &none, &[(x.clone(), false), (x.clone(), false)]);
        assert_rows_match(op, 14, &none, &[(rows(5, 1), false), (rows(5, 1), false)]);
    }
}
