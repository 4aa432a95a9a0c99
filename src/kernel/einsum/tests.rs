use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Tensor, Value};

/// The expected values are another runtime's.
fn check(op: &Op, inputs: &[Option<Value>], expected: &[Tensor]) {
    let out = op.run_values(inputs).unwrap();
    assert_eq!(out.len(), expected.len());
    for (got, expected) in out.iter().zip(expected) {
        assert_close(got.as_tensor().unwrap(), expected);
    }
}

#[test]
fn equations() {
    check(
        &Op::onnx("Einsum", 12).string("equation", "bij,bjk->bki"),
        &[
            Some(
                t::<f32>(
                    &[2, 2, 3],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 3, 2],
                    &[0.25, -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25],
                )
                .into(),
            ),
        ],
        &[t::<f32>(&[2, 2, 2], &[2.625, 0.8125, 1.3125, -0.1875, 3.4375, 4.375, -2.4375, -4.625])],
    );
    check(
        &Op::onnx("Einsum", 12).string("equation", "...ij,jk"),
        &[
            Some(
                t::<f32>(
                    &[2, 2, 3],
                    &[-1.0, -0.25, -1.0, 2.25, -1.5, 2.0, 1.5, 1.75, -1.75, -0.5, 0.5, 0.0],
                )
                .into(),
            ),
            Some(t::<f32>(&[3, 2], &[0.75, 0.75, 0.75, -2.0, 2.25, 0.25]).into()),
        ],
        &[t::<f32>(&[2, 2, 2], &[-3.1875, -0.5, 5.0625, 5.1875, -1.5, -2.8125, 0.0, -1.375])],
    );
    check(
        &Op::onnx("Einsum", 12).string("equation", "ii->i"),
        &[Some(t::<f32>(&[3, 3], &[2.0, -1.0, -0.75, 1.75, -1.5, -2.0, -0.5, 0.75, -1.75]).into())],
        &[t::<f32>(&[3], &[2.0, -1.5, -1.75])],
    );
    check(
        &Op::onnx("Einsum", 12).string("equation", "ba"),
        &[Some(t::<f32>(&[2, 3], &[1.75, -0.75, -1.25, 0.25, 2.0, 1.75]).into())],
        &[t::<f32>(&[3, 2], &[1.75, 0.25, -0.75, 2.0, -1.25, 1.75])],
    );
    check(
        &Op::onnx("Einsum", 12).string("equation", "ij,jk,kl->il"),
        &[
            Some(t::<f32>(&[2, 3], &[1.75, -1.0, -2.25, 1.25, 1.0, 1.25]).into()),
            Some(t::<f32>(&[3, 2], &[-2.25, -2.25, 0.0, -0.75, -0.25, 2.0]).into()),
            Some(t::<f32>(&[2, 2], &[-1.5, 0.25, -0.75, -1.0]).into()),
        ],
        &[t::<f32>(&[2, 2], &[10.828125, 6.84375, 5.484375, 0.28125])],
    );
    check(
        &Op::onnx("Einsum", 12).string("equation", "ij,ij->"),
        &[
            Some(t::<i64>(&[2, 3], &[3, -4, -2, -4, -4, -3]).into()),
            Some(t::<i64>(&[2, 3], &[1, 0, -1, -4, 2, 2]).into()),
        ],
        &[t::<i64>(&[], &[7])],
    );
}

#[test]
fn products_and_plain_loops_agree() {
    let wave = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        t(dims, &(0..n).map(|i| (i * 7919 % 31) as f32 - 15.0).collect::<Vec<_>>())
    };
    let (a, b) = (wave(&[2, 3, 1, 5]), wave(&[5, 2, 4, 3]));
    for equation in ["abcd,dbef->ecfa", "abcd,dbef", "abcd,dgef->agf", "abcd,dgef->"] {
        let op = Op::onnx("Einsum", 12).string("equation", equation);
        let b = if equation.contains("dbef") { wave(&[5, 3, 4, 2]) } else { b.clone() };
        let inputs = [a.clone(), b];
        let single = op.run1(&inputs);
        // Integers take the plain loops always.
        let whole = |x: &Tensor| {
            t(x.dims(), &x.to_f32_vec().unwrap().iter().map(|&x| x as i64).collect::<Vec<_>>())
        };
        let exact = op.run1(&inputs.each_ref().map(whole));
        assert_close(&single, &exact);
    }
}

#[test]
fn ellipses_broadcast_and_may_be_empty() {
    let op = |e: &str| Op::onnx("Einsum", 12).string("equation", e);
    let a = t(&[2, 1, 2], &[1i32, 2, 3, 4]);
    let b = t(&[3, 2], &[1i32, 0, 0, 1, 1, 1]);
    let out = op("...i,...i->...").run1(&[a, b]);
    assert_eq!(out, t(&[2, 3], &[1i32, 2, 3, 3, 4, 7]));
    let out = op("...ij->...ji").run1(&[t(&[1, 2], &[5f64, 6.0])]);
    assert_eq!(out, t(&[2, 1], &[5f64, 6.0]));
    assert_eq!(op("->").run1(&[t(&[], &[7i8])]), t(&[], &[7i8]));
    let none = op("ij,jk->ik").run1(&[t::<f32>(&[2, 0], &[]), t::<f32>(&[0, 2], &[])]);
    assert_eq!(none, t(&[2, 2], &[0f32; 4]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = t(&[2, 3], &[1f32; 6]);
    let kind = |e: &str, inputs: &[Tensor]| {
        Op::onnx("Einsum", 12).string("equation", e).run(inputs).unwrap_err().kind()
    };
    assert_eq!(kind("ij,jk", std::slice::from_ref(&x)), ErrorKind::InvalidModel);
    assert_eq!(kind("ij->ik", std::slice::from_ref(&x)), ErrorKind::InvalidModel);
    assert_eq!(kind("ij,ij->ij", &[x.clone(), t(&[2, 4], &[1f32; 8])]), ErrorKind::InvalidInput);
    assert_eq!(kind("ijk->i", std::slice::from_ref(&x)), ErrorKind::InvalidInput);
    assert_eq!(kind("ij,ij->ij", &[x, t(&[2, 3], &[1i64; 6])]), ErrorKind::InvalidInput);
    let long = t(&[100_000], &vec![1f32; 100_000]);
    assert_eq!(kind("a,b->ab", &[long.clone(), long]), ErrorKind::LimitExceeded);
}
