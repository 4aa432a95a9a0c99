use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, strings, t};
use crate::tensor::{Element, Tensor};
use half::{bf16, f16};

/// Three rows of two: 0 to 5.
fn image() -> Tensor {
    t(&[1, 1, 3, 2], &[0f32, 1., 2., 3., 4., 5.])
}

fn op(mode: &str, padding: &str, align_corners: i64) -> Op {
    Op::onnx("GridSample", 20)
        .string("mode", mode)
        .string("padding_mode", padding)
        .int("align_corners", align_corners)
}

/// Reads `x` at `points`, whose numbers come by `rank`.
fn at<T: Element>(op: &Op, x: Tensor, points: &[T]) -> Tensor {
    let rank = x.dims().len() - 2;
    let mut dims = vec![1; rank + 2];
    (dims[rank], dims[rank + 1]) = (points.len() / rank, rank);
    let y = op.run1(&[x, t(&dims, points)]);
    let n = y.len();
    y.reshaped(crate::tensor::Shape::new(&[n]).unwrap()).unwrap()
}

/// Both coordinates of a point the same.
fn diagonal(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().flat_map(|&n| [n, n]).collect()
}

// The expected numbers of this and the next test are the specification's.
#[test]
fn modes_and_corners() {
    let points = diagonal(&[-1.0, -0.5, -0.2, 0.0, 0.5, 1.0]);
    for (mode, align_corners, expected) in [
        ("linear", 0, [0f32, 0.5, 1.7, 2.5, 4.5, 1.25]),
        ("linear", 1, [0.0, 1.25, 2.0, 2.5, 3.75, 5.0]),
        ("nearest", 0, [0.0, 0.0, 2.0, 2.0, 5.0, 0.0]),
        ("cubic", 0, [-0.140625, 0.382813, 1.755552, 2.96875, 5.144531, 1.390625]),
    ] {
        let y = at(&op(mode, "zeros", align_corners), image(), &points);
        assert_close(&y, &t(&[6], &expected));
        let named = mode.replace("linear", "bilinear").replace("cubic", "bicubic");
        let old =
            Op::onnx("GridSample", 16).string("mode", &named).int("align_corners", align_corners);
        assert_eq!(at(&old, image(), &points), y);
        // Before opset 16 exporters wrote ONNX Runtime's own, of the same names.
        let own = Op::new("com.microsoft", "GridSample", 1).string("mode", &named);
        assert_eq!(at(&own.int("align_corners", align_corners), image(), &points), y);
    }
    let points =
        [-1f32, -0.8, -0.6, -0.5, -0.1, -0.2, 0.7, 0.0, 0.0, 0.4, 0.2, -0.2, -0.3, 0.5, -1.0, 1.0];
    let y = at(&op("linear", "zeros", 0), image(), &points);
    assert_close(&y, &t(&[8], &[0f32, 0.45, 1.8, 2.4, 3.7, 2.1, 3.7, 1.0]));
    let y = at(&op("nearest", "zeros", 1), image(), &points);
    assert_eq!(y, t(&[8], &[0f32, 0., 2., 3., 2., 3., 4., 4.]));
    let y = at(&op("cubic", "zeros", 0), image(), &points);
    let cubic = [-0.17325, 0.284265, 1.923106, 2.568, 5.170375, 2.284414, 4.744844, 1.046875];
    assert_close(&y, &t(&[8], &cubic.map(|v: f64| v as f32)));
}

#[test]
fn what_lies_beyond_the_border() {
    let points = diagonal(&[-10.0, -5.0, -0.2, 10.0, 5.0]);
    for (padding, expected) in [
        ("zeros", [0f32, 0.0, 1.7, 0.0, 0.0]),
        ("border", [0.0, 0.0, 1.7, 5.0, 5.0]),
        ("reflection", [2.5, 0.0, 1.7, 2.5, 5.0]),
    ] {
        let y = at(&op("linear", padding, 0), image(), &points);
        assert_close(&y, &t(&[5], &expected));
    }
    // A row of three, 10 20 30. In elements the points are -1, -2, 3, 4 and 5.
    let row = || t(&[1, 1, 3], &[10f32, 20., 30.]);
    let elements = |i: f32| (2.0 * i + 1.0) / 3.0 - 1.0;
    let points = [-1.0, -2.0, 3.0, 4.0, 5.0].map(elements);
    for mode in ["nearest", "linear"] {
        let y = at(&op(mode, "reflection", 0), row(), &points);
        assert_close(&y, &t(&[5], &[10f32, 20., 30., 20., 10.]));
        let y = at(&op(mode, "border", 0), row(), &points);
        assert_close(&y, &t(&[5], &[10f32, 10., 30., 30., 30.]));
    }
    // Four elements around -0.8 and 2.8, those beyond the border its own: 10 and 30 but for the
    // inner one, whose share is -0.024.
    let y = at(&op("cubic", "border", 0), row(), &[-0.8, 2.8].map(elements));
    assert_close(&y, &t(&[2], &[9.76f32, 30.24]));
    // With aligned corners the outer elements are not repeated.
    let points = [-1.0, -2.0, 3.0, 4.0, 5.0].map(|i: f32| i - 1.0);
    for mode in ["nearest", "linear", "cubic"] {
        let y = at(&op(mode, "reflection", 1), row(), &points);
        assert_close(&y, &t(&[5], &[20f32, 30., 20., 10., 20.]));
    }
}

#[test]
fn positions_that_are_no_numbers_or_far_away() {
    let points = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30];
    for mode in ["nearest", "linear", "cubic"] {
        for align_corners in [0, 1] {
            let x = || t(&[1, 1, 3], &[10f32, 20., 30.]);
            let y = at(&op(mode, "zeros", align_corners), x(), &points);
            assert_eq!(y, t(&[5], &[0f32; 5]), "{mode}");
            let y = at(&op(mode, "border", align_corners), x(), &points);
            assert_eq!(y, t(&[5], &[10f32, 30., 10., 30., 10.]), "{mode}");
            let y = at(&op(mode, "reflection", align_corners), x(), &points);
            assert!(y.to_f32_vec().unwrap().iter().all(|v| (5.0..=35.0).contains(v)), "{mode}");
            // A single element has no room to reflect in.
            let y = at(&op(mode, "reflection", align_corners), t(&[1, 1, 1], &[7f32]), &points);
            assert_close(&y, &t(&[5], &[7f32; 5]));
        }
    }
}

#[test]
fn halves_go_to_the_even_element() {
    // With aligned corners -1, -0.5, 0, 0.5, 1 are the positions 0, 0.5, 1, 1.5, 2 of three.
    let x = t(&[1, 1, 3], &[10f32, 20., 30.]);
    let y = at(&op("nearest", "zeros", 1), x, &[-1f32, -0.5, 0.0, 0.5, 1.0]);
    assert_eq!(y, t(&[5], &[10f32, 10., 20., 30., 30.]));
}

#[test]
fn three_axes_read_the_innermost_coordinate_first() {
    // 100 z + 10 y + x for sizes 2, 3 and 4.
    let x: Vec<f64> =
        (0..24).map(|i| f64::from(100 * (i / 12) + 10 * (i / 4 % 3) + i % 4)).collect();
    let x = t(&[1, 1, 2, 3, 4], &x);
    // Positions x = 3, 1.5 and 2, y = 0, 1 and 0.5, z = 1, 0.5 and 0.
    let points = [1f64, -1., 1., 0., 0., 0., 1. / 3., -0.5, -1.];
    let y = at(&op("linear", "zeros", 1), x.clone(), &points);
    assert_close(&y, &t(&[3], &[103f64, 61.5, 7.0]));
    let y = at(&op("nearest", "zeros", 1), x.clone(), &points);
    assert_eq!(y, t(&[3], &[103f64, 12.0, 2.0]));
    // Cubic interpolation answers the elements themselves at their places, too.
    let y = at(&op("cubic", "border", 1), x, &[1f64, -1., 1., -1. / 3., 0., -1.]);
    assert_close(&y, &t(&[2], &[103f64, 11.0]));
}

#[test]
fn channels_and_images_have_their_own_grids_and_planes() {
    let x: Vec<f32> = (0..24).map(|v| v as f32).collect();
    let x = t(&[2, 3, 2, 2], &x);
    let grid = t(&[2, 1, 2, 2], &[-1f32, -1., 1., 1., 1., -1., -1., 1.]);
    let y = op("linear", "zeros", 1).run1(&[x.clone(), grid.clone()]);
    let expected = [0f32, 3., 4., 7., 8., 11., 13., 14., 17., 18., 21., 22.];
    assert_eq!(y, t(&[2, 3, 1, 2], &expected));
    assert_eq!(op("nearest", "zeros", 1).threads(3).run1(&[x, grid]), y);
    // More positions than are read at a time, on several threads.
    let n = 50_000;
    let x: Vec<f32> = (0..2 * 400).map(|v| (v * 7919 % 1009) as f32).collect();
    let x = t(&[1, 2, 20, 20], &x);
    let grid: Vec<f32> = (0..2 * n).map(|i| (i * 31 % 2003) as f32 / 900.0 - 1.1).collect();
    let grid = t(&[1, n / 10, 10, 2], &grid);
    for mode in ["nearest", "cubic"] {
        let run = |threads| op(mode, "zeros", 0).threads(threads).run1(&[x.clone(), grid.clone()]);
        let y = run(1);
        assert_eq!(y, run(3));
        let last = grid.as_slice::<f32>().unwrap()[2 * n - 2..].to_vec();
        let alone = op(mode, "zeros", 0).run1(&[x.clone(), t(&[1, 1, 1, 2], &last)]);
        assert_eq!(y.as_slice::<f32>().unwrap()[n - 1], alone.as_slice::<f32>().unwrap()[0]);
    }
}

#[test]
fn every_element_type() {
    let points = [-0.5f32, 0.0, 0.5, 2.0];
    let nearest = op("nearest", "zeros", 1);
    let y = at(&nearest, strings(&[1, 1, 3], &["a", "b", "c"]), &points);
    assert_eq!(y, strings(&[4], &["a", "b", "c", ""]));
    let y = at(&nearest, t(&[1, 1, 3], &[true, false, true]), &points);
    assert_eq!(y, t(&[4], &[true, false, true, false]));
    // Positions 0.5, 1, 1.5 and 3; integers are cut.
    let linear = op("linear", "zeros", 1);
    assert_eq!(at(&linear, t(&[1, 1, 3], &[1u8, 2, 255]), &points), t(&[4], &[1u8, 2, 128, 0]));
    let big = 1i64 << 40;
    let y = at(&linear, t(&[1, 1, 3], &[big, big + 2, -9]), &points[..2]);
    assert_eq!(y, t(&[2], &[big + 1, big + 2]));
    let y = at(&linear, t(&[1, 1, 3], &[true, false, false]), &points);
    assert_eq!(y, t(&[4], &[true, false, false, false]));
    let half = [1f32, 2., 4.].map(f16::from_f32);
    let y = at(&linear, t(&[1, 1, 3], &half), &points.map(f16::from_f32));
    assert_eq!(y, t(&[4], &[1.5f32, 2., 3., 0.].map(f16::from_f32)));
    let half = [1f32, 2., 4.].map(bf16::from_f32);
    let y = at(&linear, t(&[1, 1, 3], &half), &points.map(f64::from));
    assert_eq!(y, t(&[4], &[1.5f32, 2., 3., 0.].map(bf16::from_f32)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let kind = |op: Op, x: Tensor, grid: &[usize]| {
        let n: usize = grid.iter().product();
        op.run(&[x, t(grid, &vec![0f32; n])]).unwrap_err().kind()
    };
    let linear = || op("linear", "zeros", 0);
    for grid in [&[1, 2, 2, 3][..], &[2, 2, 2, 2], &[1, 2, 2], &[1, 2, 2, 2, 2]] {
        assert_eq!(kind(linear(), image(), grid), ErrorKind::InvalidInput);
    }
    assert_eq!(kind(linear(), t(&[2, 2], &[0f32; 4]), &[2, 0]), ErrorKind::InvalidInput);
    let nothing = || t::<f32>(&[1, 1, 0, 2], &[]);
    assert_eq!(kind(linear(), nothing(), &[1, 1, 1, 2]), ErrorKind::InvalidInput);
    let text = strings(&[1, 1, 1, 1], &["a"]);
    assert_eq!(kind(linear(), text, &[1, 1, 1, 2]), ErrorKind::InvalidInput);
    let model = ErrorKind::InvalidModel;
    assert_eq!(kind(op("best", "zeros", 0), image(), &[1, 1, 1, 2]), model);
    assert_eq!(kind(op("linear", "ones", 0), image(), &[1, 1, 1, 2]), model);
    let x = t(&[1; 32], &[0f32]);
    let mut grid = [1; 32];
    grid[31] = 30;
    assert_eq!(kind(op("cubic", "zeros", 0), x, &grid), ErrorKind::LimitExceeded);
    let empty = linear().run1(&[nothing(), t::<f32>(&[1, 0, 3, 2], &[])]);
    assert_eq!(empty.dims(), [1, 1, 0, 3]);
}
