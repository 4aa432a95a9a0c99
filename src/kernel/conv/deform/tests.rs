use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{ElementType, Tensor, Value};
use half::f16;

/// Numbers without a pattern, in -1 to 1.
fn noise(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let v: Vec<f32> =
        (0..n).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 504.5 - 1.0).collect();
    t(dims, &v)
}

fn zeros(dims: &[usize]) -> Tensor {
    t(dims, &vec![0f32; dims.iter().product()])
}

fn deform(op: &Op, inputs: [Option<&Tensor>; 5]) -> Tensor {
    let inputs = inputs.map(|t| t.cloned().map(Value::from));
    op.run_values(&inputs).unwrap().remove(0).into_tensor().unwrap()
}

#[test]
fn the_offset_moves_what_is_read() {
    // The specification's example: 0..9, a kernel of ones, its first element moved by half.
    let x: Vec<f32> = (0..9).map(|v| v as f32).collect();
    let (x, w) = (t(&[1, 1, 3, 3], &x), t(&[1, 1, 2, 2], &[1f32; 4]));
    let mut offset = vec![0f32; 8 * 4];
    offset[0] = 0.5; // y of kernel element 0 at output 0
    offset[4 * 5 + 1] = -0.1; // x of kernel element 2 at output 1
    let offset = t(&[1, 8, 2, 2], &offset);
    let op = Op::onnx("DeformConv", 19).ints("kernel_shape", &[2, 2]);
    let y = deform(&op, [Some(&x), Some(&w), Some(&offset), None, None]);
    assert_close(&y, &t(&[1, 1, 2, 2], &[9.5f32, 11.9, 20., 24.]));
    // Half, and then all, of an element beyond the border: what is there is zero.
    let one = t(&[1, 1, 1, 1], &[1f32]);
    let moved = |y: f32, x: f32| t(&[1, 2, 1, 1], &[y, x]);
    let op = Op::onnx("DeformConv", 22);
    for (offset, expected) in [
        (moved(-0.5, 0.0), 1.5),
        (moved(0.25, -0.5), 1.125),
        (moved(-1.0, 0.0), 0.0),
        (moved(1e30, f32::INFINITY), 0.0),
        (moved(f32::NAN, 0.0), 0.0),
    ] {
        let x = t(&[1, 1, 1, 1], &[3f32]);
        let y = deform(&op, [Some(&x), Some(&one), Some(&offset), None, None]);
        assert_close(&y, &t(&[1, 1, 1, 1], &[expected]));
    }
}

#[test]
fn without_offsets_it_is_a_convolution() {
    let attributes = |op: Op| {
        op.int("group", 2)
            .ints("strides", &[2, 1])
            .ints("dilations", &[1, 2])
            .ints("pads", &[1, 0, 2, 3])
    };
    let (x, w) = (noise(&[3, 4, 7, 8], 1), noise(&[6, 2, 3, 2], 2));
    let bias = noise(&[6], 3);
    let expected = attributes(Op::onnx("Conv", 19)).run1(&[x.clone(), w.clone(), bias.clone()]);
    let (rows, columns) = (expected.dims()[2], expected.dims()[3]);
    let offset = zeros(&[3, 2 * 12, rows, columns]);
    let op = attributes(Op::onnx("DeformConv", 19)).int("offset_group", 2);
    let y = deform(&op, [Some(&x), Some(&w), Some(&offset), Some(&bias), None]);
    assert_close(&y, &expected);
    let y = deform(&op.threads(3), [Some(&x), Some(&w), Some(&offset), Some(&bias), None]);
    assert_close(&y, &expected);
}

/// The definition in two dimensions, element by element, in `f64`.
fn slowly(x: &Tensor, w: &Tensor, offset: &Tensor, mask: &Tensor, groups: [usize; 2]) -> Tensor {
    let [n, c, height, width] = [0, 1, 2, 3].map(|axis| x.dims()[axis]);
    let [oc, kh, kw] = [0, 2, 3].map(|axis| w.dims()[axis]);
    let [oh, ow] = [2, 3].map(|axis| offset.dims()[axis]);
    let v = |t: &Tensor| t.to_f64_vec().unwrap();
    let (x, w, offset, mask) = (v(x), v(w), v(offset), v(mask));
    let at = |n: usize, channel: usize, y: f64, z: f64| {
        if y < 0.0 || z < 0.0 || y >= height as f64 || z >= width as f64 {
            return 0.0;
        }
        x[((n * c + channel) * height + y as usize) * width + z as usize]
    };
    let mut out = vec![];
    for (n, o) in (0..n).flat_map(|n| (0..oc).map(move |o| (n, o))) {
        for (y, z) in (0..oh).flat_map(|y| (0..ow).map(move |z| (y, z))) {
            let mut sum = 0.0;
            for i in 0..c / groups[0] {
                let channel = o / (oc / groups[0]) * (c / groups[0]) + i;
                let og = channel / (c / groups[1]);
                for k in 0..kh * kw {
                    let row = (n * groups[1] + og) * kh * kw + k;
                    let place = |axis: usize| offset[((row * 2 + axis) * oh + y) * ow + z];
                    // Padding 1 before, strides 1, dilations 1.
                    let py = (y + k / kw) as f64 - 1.0 + place(0);
                    let px = (z + k % kw) as f64 - 1.0 + place(1);
                    let (fy, fx) = (py.floor(), px.floor());
                    let (ty, tx) = (py - fy, px - fx);
                    let value = (1.0 - ty) * (1.0 - tx) * at(n, channel, fy, fx)
                        + (1.0 - ty) * tx * at(n, channel, fy, fx + 1.0)
                        + ty * (1.0 - tx) * at(n, channel, fy + 1.0, fx)
                        + ty * tx * at(n, channel, fy + 1.0, fx + 1.0);
                    let weight = w[(o * (c / groups[0]) + i) * kh * kw + k];
                    sum += weight * value * mask[(row * oh + y) * ow + z];
                }
            }
            out.push(sum as f32);
        }
    }
    t(&[n, oc, oh, ow], &out)
}

#[test]
fn groups_masks_and_tiles_agree_with_the_definition() {
    let (x, w) = (noise(&[2, 8, 9, 10], 4), noise(&[4, 4, 3, 3], 5));
    let (offset, mask) = (noise(&[2, 4 * 18, 9, 10], 6), noise(&[2, 4 * 9, 9, 10], 7));
    let op = Op::onnx("DeformConv", 22)
        .ints("pads", &[1, 1, 1, 1])
        .int("group", 2)
        .int("offset_group", 4);
    let y = deform(&op, [Some(&x), Some(&w), Some(&offset), None, Some(&mask)]);
    assert_close(&y, &slowly(&x, &w, &offset, &mask, [2, 4]));
    // A filter so large that an image takes several tiles, and more than one block of channels.
    let (x, w) = (noise(&[1, 600, 6, 7], 8), noise(&[33, 600, 3, 3], 9));
    let (offset, mask) = (noise(&[1, 18, 6, 7], 10), noise(&[1, 9, 6, 7], 11));
    let op = |n| Op::onnx("DeformConv", 22).ints("pads", &[1, 1, 1, 1]).threads(n);
    let inputs = [Some(&x), Some(&w), Some(&offset), None, Some(&mask)];
    let y = deform(&op(1), inputs);
    let expected = slowly(&x, &w, &offset, &mask, [1, 1]);
    let (got, expected) = (y.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() < 1e-3));
    assert_eq!(y, deform(&op(3), inputs));
}

#[test]
fn one_and_three_axes() {
    let (x, w) = (t(&[1, 1, 3], &[1f32, 2., 4.]), t(&[1, 1, 2], &[1f32, 10.]));
    let offset = t(&[1, 2, 2], &[0.5f32, 0., 0., -1.]);
    let y = deform(&Op::onnx("DeformConv", 19), [Some(&x), Some(&w), Some(&offset), None, None]);
    assert_close(&y, &t(&[1, 1, 2], &[21.5f32, 22.]));
    let x: Vec<f32> = (0..8).map(|v| v as f32).collect();
    let (x, w) = (t(&[1, 1, 2, 2, 2], &x), t(&[1, 1, 1, 1, 1], &[2f32]));
    let mut offset = vec![0f32; 24];
    (offset[0], offset[8], offset[16]) = (0.5, 0.5, 0.5);
    let offset = t(&[1, 3, 2, 2, 2], &offset);
    let y = deform(&Op::onnx("DeformConv", 19), [Some(&x), Some(&w), Some(&offset), None, None]);
    assert_close(&y, &t(&[1, 1, 2, 2, 2], &[7f32, 2., 4., 6., 8., 10., 12., 14.]));
    let half = |t: &Tensor| {
        let v = t.to_f32_vec().unwrap().into_iter().map(f16::from_f32).collect::<Vec<_>>();
        Tensor::from_vec(t.dims(), v).unwrap()
    };
    let (x, w, offset) = (half(&x), half(&w), half(&offset));
    let y = deform(&Op::onnx("DeformConv", 19), [Some(&x), Some(&w), Some(&offset), None, None]);
    assert_eq!((y.dtype(), y.to_f32_vec().unwrap()[0]), (ElementType::F16, 7.0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let op = || Op::onnx("DeformConv", 19);
    let (x, w) = (zeros(&[1, 2, 3, 3]), zeros(&[2, 2, 2, 2]));
    let offset = zeros(&[1, 8, 2, 2]);
    assert!(op().run(&[x.clone(), w.clone(), offset.clone()]).is_ok());
    let refused = |op: Op, inputs: &[&Tensor]| {
        let inputs: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
        assert!(op.run(&inputs).is_err());
    };
    refused(op(), &[&x, &w, &zeros(&[1, 8, 3, 3])]);
    refused(op(), &[&x, &w, &zeros(&[1, 4, 2, 2])]);
    refused(op(), &[&x, &zeros(&[2, 1, 2, 2]), &offset]);
    refused(op(), &[&x, &zeros(&[2, 2, 4, 4]), &offset]);
    refused(op(), &[&x, &w, &offset, &zeros(&[3])]);
    refused(op(), &[&x, &w, &offset, &zeros(&[2]), &zeros(&[1, 8, 2, 2])]);
    refused(op().int("offset_group", 3), &[&x, &w, &offset]);
    refused(op().int("offset_group", 0), &[&x, &w, &offset]);
    refused(op().int("offset_group", i64::MAX), &[&x, &w, &offset]);
    refused(op().int("group", 3), &[&x, &w, &offset]);
}
