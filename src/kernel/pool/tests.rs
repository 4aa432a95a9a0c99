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
fn max_pools() {
    check(
        &Op::onnx("MaxPool", 21)
            .ints("kernel_shape", &[3, 2])
            .ints("strides", &[2, 2])
            .int("ceil_mode", 1)
            .ints("dilations", &[1, 2])
            .ints("pads", &[1, 0, 0, 1])
            .outputs(2),
        &[Some(
            t::<f32>(
                &[1, 1, 5, 6],
                &[
                    0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5, 0.25,
                    -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25, -1.0,
                    -0.25, -1.0, 2.25, -1.5, 2.0,
                ],
            )
            .into(),
        )],
        &[
            t::<f32>(&[1, 1, 3, 3], &[2.25, 2.25, -0.25, 2.25, 2.25, 1.25, -1.0, 1.25, 1.25]),
            t::<i64>(&[1, 1, 3, 3], &[8, 8, 4, 8, 8, 22, 24, 22, 22]),
        ],
    );
    check(
        &Op::onnx("MaxPool", 21)
            .ints("kernel_shape", &[2, 3])
            .ints("strides", &[2, 1])
            .int("storage_order", 1)
            .outputs(2),
        &[Some(
            t::<f32>(
                &[1, 1, 5, 6],
                &[
                    0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5, 0.25,
                    -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25, -1.0,
                    -0.25, -1.0, 2.25, -1.5, 2.0,
                ],
            )
            .into(),
        )],
        &[
            t::<f32>(&[1, 1, 2, 4], &[2.25, 2.25, 2.25, 1.5, 2.25, 2.25, 1.25, 1.25]),
            t::<i64>(&[1, 1, 2, 4], &[11, 11, 11, 15, 8, 8, 23, 23]),
        ],
    );
    check(
        &Op::onnx("MaxPool", 21).ints("kernel_shape", &[2, 2]).string("auto_pad", "SAME_UPPER"),
        &[Some(
            t::<u8>(&[1, 1, 4, 4], &[12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]).into(),
        )],
        &[t::<u8>(&[1, 1, 4, 4], &[13, 14, 15, 15, 9, 10, 11, 11, 5, 6, 7, 7, 1, 2, 3, 3])],
    );
}

#[test]
fn mean_pools() {
    check(
        &Op::onnx("AveragePool", 21)
            .ints("kernel_shape", &[3, 3])
            .ints("strides", &[2, 3])
            .ints("pads", &[1, 1, 1, 1])
            .int("ceil_mode", 1)
            .int("count_include_pad", 1),
        &[Some(
            t::<f32>(
                &[1, 1, 5, 6],
                &[
                    0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5, 0.25,
                    -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25, -1.0,
                    -0.25, -1.0, 2.25, -1.5, 2.0,
                ],
            )
            .into(),
        )],
        &[t::<f32>(
            &[1, 1, 3, 3],
            &[
                0.194444, -0.194444, -0.083333, -0.027778, -0.722222, -0.666667, -0.083333,
                0.027778, 0.125,
            ],
        )],
    );
    check(
        &Op::onnx("AveragePool", 19)
            .ints("kernel_shape", &[2, 2])
            .ints("strides", &[2, 2])
            .ints("dilations", &[2, 2])
            .ints("pads", &[1, 1, 0, 1]),
        &[Some(
            t::<f32>(
                &[1, 1, 5, 6],
                &[
                    0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5, 0.25,
                    -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25, -1.0,
                    -0.25, -1.0, 2.25, -1.5, 2.0,
                ],
            )
            .into(),
        )],
        &[t::<f32>(&[1, 1, 2, 3], &[-1.0, -1.5, -1.25, 0.625, 0.0, -0.75])],
    );
    check(
        &Op::onnx("AveragePool", 21).ints("kernel_shape", &[3]).string("auto_pad", "SAME_LOWER"),
        &[Some(
            t::<f32>(&[1, 2, 5], &[1.5, 1.75, -1.75, -0.5, 0.5, 0.0, 0.75, 0.75, 0.75, -2.0])
                .into(),
        )],
        &[t::<f32>(
            &[1, 2, 5],
            &[1.625, 0.5, -0.166667, -0.583333, 0.0, 0.375, 0.5, 0.75, -0.166667, -0.625],
        )],
    );
    check(
        &Op::onnx("LpPool", 21).ints("kernel_shape", &[2, 3]).int("p", 3),
        &[Some(
            t::<f32>(
                &[1, 1, 4, 4],
                &[
                    2.25, 0.25, 2.0, -1.0, -0.75, 1.75, -1.5, -2.0, -0.5, 0.75, -1.75, 1.75, -0.75,
                    -1.25, 0.25, 2.0,
                ],
            )
            .into(),
        )],
        &[t::<f32>(&[1, 1, 3, 2], &[3.056789, 2.952971, 2.469633, 3.032063, 2.02444, 2.763706])],
    );
}

#[test]
fn global_pools() {
    check(
        &Op::onnx("GlobalAveragePool", 21),
        &[Some(
            t::<f32>(
                &[1, 2, 2, 3],
                &[1.75, 1.75, -1.0, -2.25, 1.25, 1.0, 1.25, -2.25, -2.25, 0.0, -0.75, -0.25],
            )
            .into(),
        )],
        &[t::<f32>(&[1, 2, 1, 1], &[0.416667, -0.708333])],
    );
    check(
        &Op::onnx("GlobalMaxPool", 21),
        &[Some(
            t::<f32>(
                &[1, 2, 2, 3],
                &[1.75, 1.75, -1.0, -2.25, 1.25, 1.0, 1.25, -2.25, -2.25, 0.0, -0.75, -0.25],
            )
            .into(),
        )],
        &[t::<f32>(&[1, 2, 1, 1], &[1.75, 1.25])],
    );
    check(
        &Op::onnx("GlobalLpPool", 21).int("p", 1),
        &[Some(
            t::<f32>(
                &[1, 2, 2, 3],
                &[1.75, 1.75, -1.0, -2.25, 1.25, 1.0, 1.25, -2.25, -2.25, 0.0, -0.75, -0.25],
            )
            .into(),
        )],
        &[t::<f32>(&[1, 2, 1, 1], &[9.0, 6.75])],
    );
}

#[test]
fn ties_take_the_first_and_nan_wins() {
    let x = t(&[1, 1, 4], &[2f32, 2.0, f32::NAN, 1.0]);
    let out = Op::onnx("MaxPool", 12).ints("kernel_shape", &[2]).outputs(2).run(&[x]).unwrap();
    let values = out[0].as_slice::<f32>().unwrap();
    assert_eq!(values[0], 2.0);
    assert!(values[1].is_nan() && values[2].is_nan());
    assert_eq!(out[1].as_slice::<i64>().unwrap(), [0, 2, 2]);
    let lowest = t(&[1, 1, 2], &[f32::NEG_INFINITY; 2]);
    let op = Op::onnx("MaxPool", 12).ints("kernel_shape", &[2]).outputs(2);
    assert_eq!(op.run(&[lowest]).unwrap()[1].as_slice::<i64>().unwrap(), [0]);
}

#[test]
fn unpooling_puts_values_back() {
    let x = t(&[1, 1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
    let at = t(&[1, 1, 2, 2], &[5i64, 7, 13, 15]);
    let op = || Op::onnx("MaxUnpool", 11).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
    let out = op().run1(&[x.clone(), at.clone()]);
    let mut expected = [0f32; 16];
    (expected[5], expected[7], expected[13], expected[15]) = (1.0, 2.0, 3.0, 4.0);
    assert_eq!(out, t(&[1, 1, 4, 4], &expected));
    let out = op().run1(&[x.clone(), at, t(&[4], &[1i64, 1, 5, 5])]);
    assert_eq!((out.dims(), out.as_slice::<f32>().unwrap()[6]), (&[1, 1, 5, 5][..], 1.0));
    for place in [-1, 16] {
        let at = t(&[1, 1, 2, 2], &[5i64, 7, place, 15]);
        assert_eq!(op().run(&[x.clone(), at]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn threads_change_nothing() {
    let x: Vec<f32> = (0..64 * 60 * 60).map(|i| (i * 7919 % 1009) as f32).collect();
    let x = t(&[2, 32, 60, 60], &x);
    for name in ["MaxPool", "AveragePool", "LpPool"] {
        let op = |n| Op::onnx(name, 19).ints("kernel_shape", &[3, 3]).threads(n);
        assert_eq!(
            op(1).run1(std::slice::from_ref(&x)),
            op(2).run1(std::slice::from_ref(&x)),
            "{name}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = t(&[1, 1, 3], &[1f32; 3]);
    let kind = |op: Op| op.run(std::slice::from_ref(&x)).unwrap_err().kind();
    for name in ["MaxPool", "AveragePool", "LpPool"] {
        let op = || Op::onnx(name, 19);
        assert_eq!(kind(op()), ErrorKind::InvalidModel);
        assert_eq!(kind(op().ints("kernel_shape", &[0])), ErrorKind::InvalidModel);
        assert_eq!(kind(op().ints("kernel_shape", &[2, 2])), ErrorKind::InvalidInput);
        assert_eq!(kind(op().ints("kernel_shape", &[5])), ErrorKind::InvalidInput);
        let none = op().ints("kernel_shape", &[4]).run1(std::slice::from_ref(&x));
        assert_eq!(none.dims(), [1, 1, 0]);
        let empty = op().ints("kernel_shape", &[1]).run1(&[t::<f32>(&[1, 0, 3], &[])]);
        assert_eq!(empty.dims(), [1, 0, 3]);
    }
    assert!(
        Op::onnx("MaxPool", 12).ints("kernel_shape", &[1]).run(&[t(&[3], &[1f32; 3])]).is_err()
    );
    assert!(Op::onnx("GlobalMaxPool", 1).run(&[t(&[3], &[1f32; 3])]).is_err());
    assert!(Op::onnx("LpPool", 2).ints("kernel_shape", &[1]).int("p", 0).run(&[x]).is_err());
}
