use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, strings, t};
use crate::tensor::{Complex, Tensor, Value};

/// The expected values are another runtime's.
fn check(op: &Op, inputs: &[Option<Value>], expected: &[Tensor]) {
    let out = op.run_values(inputs).unwrap();
    assert_eq!(out.len(), expected.len());
    for (got, expected) in out.iter().zip(expected) {
        assert_close(got.as_tensor().unwrap(), expected);
    }
}

#[test]
fn scales() {
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "nearest")
            .string("coordinate_transformation_mode", "asymmetric")
            .string("nearest_mode", "floor"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.5]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 6],
            &[
                0.75, 0.75, 1.5, -2.25, -2.25, 1.5, 0.75, 0.75, 1.5, -2.25, -2.25, 1.5, -0.25,
                -0.25, 0.0, 0.5, 0.5, -1.0, -0.25, -0.25, 0.0, 0.5, 0.5, -1.0, 2.25, 2.25, -2.0,
                -1.0, -1.0, -0.5, 2.25, 2.25, -2.0, -1.0, -1.0, -0.5,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "nearest")
            .string("nearest_mode", "round_prefer_ceil"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.5]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 6],
            &[
                0.75, 1.5, 1.5, -2.25, 1.5, 1.5, 0.75, 1.5, 1.5, -2.25, 1.5, 1.5, -0.25, 0.0, 0.0,
                0.5, -1.0, -1.0, -0.25, 0.0, 0.0, 0.5, -1.0, -1.0, 2.25, -2.0, -2.0, -1.0, -0.5,
                -0.5, 2.25, -2.0, -2.0, -1.0, -0.5, -0.5,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 13).string("mode", "linear"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.5]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 6],
            &[
                0.75, 1.125, 0.875, -1.625, -0.375, 1.5, 0.5, 0.8125, 0.677083, -1.114583,
                -0.34375, 0.875, 0.0, 0.1875, 0.28125, -0.09375, -0.28125, -0.375, 0.375, -0.0625,
                -0.395833, 0.020833, -0.375, -0.875, 1.625, 0.0625, -1.354167, -0.770833, -0.625,
                -0.625, 2.25, 0.125, -1.833333, -1.166667, -0.75, -0.5,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "linear")
            .string("coordinate_transformation_mode", "align_corners"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.5]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 6],
            &[
                0.75, 1.2, 0.75, -1.5, -0.75, 1.5, 0.35, 0.68, 0.49, -0.74, -0.49, 0.5, -0.05,
                0.16, 0.23, 0.02, -0.23, -0.5, 0.25, -0.14, -0.28, 0.08, -0.24, -0.9, 1.25, -0.22,
                -1.04, -0.56, -0.52, -0.7, 2.25, -0.3, -1.8, -1.2, -0.8, -0.5,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "cubic")
            .int("exclude_outside", 1)
            .float("cubic_coeff_a", -0.5),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.5]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 6],
            &[
                0.785991, 1.454585, 1.133017, -2.23075, -0.504758, 1.997775, 0.455892, 1.03392,
                0.915754, -1.487734, -0.434414, 1.192878, -0.24445, 0.142793, 0.456531, 0.086726,
                -0.285249, -0.512179, 0.286084, -0.185676, -0.465905, 0.321238, -0.340705,
                -1.154354, 1.977789, 0.09167, -1.730357, -0.81501, -0.593495, -0.649275, 2.776314,
                0.222318, -2.327546, -1.350968, -0.712803, -0.411378,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 19)
            .string("mode", "linear")
            .string("coordinate_transformation_mode", "half_pixel_symmetric"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 0.6, 0.8]).into()),
        ],
        &[t::<f32>(&[1, 1, 1, 3], &[-0.1875, 0.25, -0.625])],
    );
}

#[test]
fn sizes_crops_and_policies() {
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "linear")
            .string("coordinate_transformation_mode", "pytorch_half_pixel"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            None,
            Some(t::<i64>(&[4], &[1, 1, 2, 7]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 2, 7],
            &[
                0.5, 0.723214, 1.080357, -0.21875, -1.388393, 0.004464, 0.875, 1.625, 0.508929,
                -1.276786, -1.0625, -0.625, -0.625, -0.625,
            ],
        )],
    );
    check(
        &Op::onnx("Resize", 13)
            .string("mode", "linear")
            .string("coordinate_transformation_mode", "tf_crop_and_resize")
            .float("extrapolation_value", 9.0),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            Some(t::<f32>(&[8], &[0.0, 0.0, 0.2, 0.1, 1.0, 1.0, 0.9, 1.3]).into()),
            None,
            Some(t::<i64>(&[4], &[1, 1, 2, 3]).into()),
        ],
        &[t::<f32>(&[1, 1, 2, 3], &[0.515, -0.985, 9.0, 0.745, -0.69, 9.0])],
    );
    check(
        &Op::onnx("Resize", 18)
            .string("mode", "nearest")
            .ints("axes", &[2, 3])
            .string("keep_aspect_ratio_policy", "not_larger"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            None,
            Some(t::<i64>(&[2], &[5, 8]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 5, 7],
            &[
                0.75, 0.75, 1.5, -2.25, -2.25, 1.5, 1.5, 0.75, 0.75, 1.5, -2.25, -2.25, 1.5, 1.5,
                -0.25, -0.25, 0.0, 0.5, 0.5, -1.0, -1.0, 2.25, 2.25, -2.0, -1.0, -1.0, -0.5, -0.5,
                2.25, 2.25, -2.0, -1.0, -1.0, -0.5, -0.5,
            ],
        )],
    );
}

#[test]
fn antialiasing_and_older_versions() {
    check(
        &Op::onnx("Resize", 18).string("mode", "linear").int("antialias", 1),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            None,
            Some(t::<f32>(&[4], &[1.0, 1.0, 0.5, 0.5]).into()),
        ],
        &[t::<f32>(&[1, 1, 1, 2], &[0.335938, -0.179688])],
    );
    check(
        &Op::onnx("Resize", 10).string("mode", "nearest"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            Some(t::<f32>(&[4], &[1.0, 1.0, 0.6, 0.6]).into()),
        ],
        &[t::<f32>(&[1, 1, 1, 2], &[0.75, -2.25])],
    );
    check(
        &Op::onnx("Upsample", 9).string("mode", "linear"),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 4],
                    &[0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5],
                )
                .into(),
            ),
            Some(t::<f32>(&[4], &[1.0, 1.0, 2.0, 1.0]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 6, 4],
            &[
                0.75, 1.5, -2.25, 1.5, 0.25, 0.75, -0.875, 0.25, -0.25, 0.0, 0.5, -1.0, 1.0, -1.0,
                -0.25, -0.75, 2.25, -2.0, -1.0, -0.5, 2.25, -2.0, -1.0, -0.5,
            ],
        )],
    );
}

fn by_scales(op: &Op, x: Tensor, scales: &[f32]) -> crate::Result<Vec<Value>> {
    op.run_values(&[Some(x.into()), None, Some(t(&[scales.len()], scales).into())])
}

#[test]
fn any_element_type_and_rank_by_nearest() {
    let x = strings(&[3], &["a", "b", "c"]);
    let op = Op::onnx("Resize", 13).string("mode", "nearest");
    let out = by_scales(&op, x, &[2.0]).unwrap();
    assert_eq!(out[0], strings(&[6], &["a", "a", "b", "b", "c", "c"]).into());
    let out = by_scales(&op, t(&[2, 1, 2], &[true, false, false, true]), &[1.0, 2.0, 1.0]).unwrap();
    let expected = [true, false, true, false, false, true, false, true];
    assert_eq!(out[0], t(&[2, 2, 2], &expected).into());
    let old = Op::onnx("Upsample", 7).floats("scales", &[3.0]).run1(&[t(&[2], &[1i64, 2])]);
    assert_eq!(old, t(&[6], &[1i64, 1, 1, 2, 2, 2]));
}

#[test]
fn corners_are_aligned_by_the_length_before_it_is_cut() {
    // The specification's example: 2.4 elements are asked for, 2 are left.
    let x: Vec<f32> = (1..=8).map(|v| v as f32).collect();
    let op = Op::onnx("Resize", 19)
        .string("mode", "linear")
        .string("coordinate_transformation_mode", "align_corners");
    let out = by_scales(&op, t(&[1, 1, 2, 4], &x), &[1.0, 1.0, 0.6, 0.6]).unwrap();
    assert_close(out[0].as_tensor().unwrap(), &t(&[1, 1, 1, 2], &[1f32, 22.0 / 7.0]));
}

#[test]
fn the_oldest_upsample_scales_height_and_width() {
    let op = |mode: &str| Op::onnx("Upsample", 6).string("mode", mode).float("height_scale", 1.0);
    let x = || t(&[1, 1, 1, 2], &[1f32, 3.0]);
    let y = op("nearest").float("width_scale", 2.5).run1(&[x()]);
    assert_eq!(y, t(&[1, 1, 1, 5], &[1f32, 1.0, 1.0, 3.0, 3.0]));
    let y = op("bilinear").float("width_scale", 2.0).run1(&[x()]);
    assert_eq!(y, t(&[1, 1, 1, 4], &[1f32, 2.0, 3.0, 3.0]));
    assert_eq!(op("nearest").run(&[x()]).unwrap_err().kind(), ErrorKind::InvalidModel);
    let flat = op("nearest").float("width_scale", 2.0).run(&[t(&[2], &[1f32, 3.0])]);
    assert_eq!(flat.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn wide_integers_keep_their_digits() {
    let op = Op::onnx("Resize", 13).string("mode", "linear");
    let big = (1i64 << 40) + 3;
    let out = by_scales(&op, t(&[2], &[big, big + 4]), &[2.0]).unwrap();
    assert_eq!(out[0], t(&[4], &[big, big + 1, big + 3, big + 4]).into());
    let out = by_scales(&op, t(&[2], &[false, true]), &[2.0]).unwrap();
    assert_eq!(out[0], t(&[4], &[false, true, true, true]).into());
}

#[test]
fn integers_are_cut_after_interpolation() {
    let op = Op::onnx("Resize", 13).string("mode", "linear");
    let out = by_scales(&op, t(&[2], &[0u8, 255]), &[2.0]).unwrap();
    assert_eq!(out[0], t(&[4], &[0u8, 63, 191, 255]).into());
}

#[test]
fn threads_change_nothing() {
    let x: Vec<f32> = (0..32 * 50 * 50).map(|i| (i * 7919 % 1009) as f32).collect();
    for mode in ["nearest", "linear", "cubic"] {
        let run = |n| {
            let op = Op::onnx("Resize", 13).string("mode", mode).threads(n);
            by_scales(&op, t(&[1, 32, 50, 50], &x), &[1.0, 1.0, 2.0, 1.5]).unwrap()
        };
        assert_eq!(run(1), run(2), "{mode}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = || t(&[1, 1, 2, 2], &[1f32; 4]);
    let op = || Op::onnx("Resize", 13).string("mode", "linear");
    let kind = |op: Op, scales: &[f32]| by_scales(&op, x(), scales).unwrap_err().kind();
    assert_eq!(kind(op(), &[1.0, 2.0]), ErrorKind::InvalidInput);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(kind(op(), &[1.0, 1.0, scale, 1.0]), ErrorKind::InvalidInput);
    }
    assert_eq!(kind(op(), &[1.0, 1.0, 1e6, 1e6]), ErrorKind::LimitExceeded);
    assert_eq!(kind(op(), &[1e11, 1e11, 1e11, 1e11]), ErrorKind::LimitExceeded);
    assert_eq!(kind(op().string("mode", "best"), &[1.0; 4]), ErrorKind::InvalidModel);
    let crop = op().string("coordinate_transformation_mode", "tf_crop_and_resize");
    assert_eq!(kind(crop, &[1.0; 4]), ErrorKind::InvalidInput);
    assert_eq!(kind(op().ints("axes", &[2, 2]), &[1.0, 1.0]), ErrorKind::InvalidInput);
    let sizes = |v: &[i64]| [Some(x().into()), None, None, Some(t(&[v.len()], v).into())];
    assert!(op().run_values(&sizes(&[1, 1, -2, 2])).is_err());
    let none = op().run_values(&sizes(&[1, 1, 0, 2])).unwrap();
    assert_eq!(none[0].as_tensor().unwrap().dims(), [1, 1, 0, 2]);
    assert!(by_scales(&op(), t::<f32>(&[0], &[]), &[2.0]).is_ok());
    // A tiny scale would make an antialiasing filter of absurd width.
    let tiny = op().int("antialias", 1);
    assert!(by_scales(&tiny, x(), &[1.0, 1.0, 1e-30, 1.0]).is_ok());
}

#[test]
fn nearest_complex_numbers() {
    let x = [1f64, 2.0].map(|re| Complex { re, im: -re });
    let inputs =
        [Some(t(&[1, 1, 1, 2], &x).into()), None, Some(t(&[4], &[1f32, 1.0, 1.0, 2.0]).into())];
    let out = Op::onnx("Resize", 13).run_values(&inputs).unwrap();
    assert_eq!(out[0].as_tensor().unwrap(), &t(&[1, 1, 1, 4], &[x[0], x[0], x[1], x[1]]));
    let linear = Op::onnx("Resize", 13).string("mode", "linear");
    assert_eq!(linear.run_values(&inputs).unwrap_err().kind(), ErrorKind::InvalidInput);
}
