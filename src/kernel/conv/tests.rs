use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Tensor, Value};
use half::f16;

/// The expected values are another runtime's.
fn check(op: &Op, inputs: &[Option<Value>], expected: &[Tensor]) {
    let out = op.run_values(inputs).unwrap();
    assert_eq!(out.len(), expected.len());
    for (got, expected) in out.iter().zip(expected) {
        assert_close(got.as_tensor().unwrap(), expected);
    }
}

#[test]
fn conv_agrees_with_another_runtime() {
    check(
        &Op::onnx("Conv", 21)
            .int("group", 2)
            .ints("strides", &[2, 1])
            .ints("dilations", &[1, 2])
            .ints("pads", &[1, 0, 2, 1]),
        &[
            Some(
                t::<f32>(
                    &[1, 4, 4, 5],
                    &[
                        0.75, 1.5, -2.25, 1.5, -0.25, 0.0, 0.5, -1.0, 2.25, -2.0, -1.0, -0.5, 0.25,
                        -0.5, -1.75, -2.25, -2.25, -2.25, -1.75, 2.25, -1.5, 0.75, 1.25, -1.25,
                        -1.0, -0.25, -1.0, 2.25, -1.5, 2.0, 1.5, 1.75, -1.75, -0.5, 0.5, 0.0, 0.75,
                        0.75, 0.75, -2.0, 2.25, 0.25, 2.0, -1.0, -0.75, 1.75, -1.5, -2.0, -0.5,
                        0.75, -1.75, 1.75, -0.75, -1.25, 0.25, 2.0, 1.75, 1.75, -1.0, -2.25, 1.25,
                        1.0, 1.25, -2.25, -2.25, 0.0, -0.75, -0.25, 2.0, -1.5, 0.25, -0.75, -1.0,
                        1.5, -1.75, -0.75, -1.75, -1.75, -1.0, 1.0,
                    ],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 2, 2, 2],
                    &[
                        0.5, -0.25, -1.5, 1.5, 1.5, -1.25, -2.0, -0.75, -1.75, 1.5, 0.0, 0.0, -1.0,
                        0.0, 2.25, -1.25,
                    ],
                )
                .into(),
            ),
            Some(t::<f32>(&[2], &[1.25, -2.25]).into()),
        ],
        &[t::<f32>(
            &[1, 2, 3, 4],
            &[
                -1.1875, 0.6875, 2.5, 1.5, -1.5, -1.8125, 2.25, 1.875, -0.25, 0.75, 3.1875, 1.5,
                -1.0, 2.8125, 3.375, -7.3125, -6.5, -3.1875, 2.5625, 0.0, -2.375, -5.0625, -6.9375,
                0.5,
            ],
        )],
    );
    check(
        &Op::onnx("Conv", 21).string("auto_pad", "SAME_LOWER").ints("strides", &[2]),
        &[
            Some(
                t::<f32>(
                    &[1, 2, 7],
                    &[
                        -1.0, 2.0, 1.75, -2.0, 1.75, 1.75, -0.25, -0.75, 2.25, 2.25, 0.75, -0.5,
                        -1.5, 2.0,
                    ],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 2, 3],
                    &[-1.0, 0.25, 0.75, -1.25, -1.0, 1.25, -1.5, 0.75, 2.0, 0.75, 0.75, -0.25],
                )
                .into(),
            ),
        ],
        &[t::<f32>(&[1, 2, 4], &[4.8125, -7.1875, 1.4375, -1.9375, 2.125, -2.5, 8.375, -2.4375])],
    );
    check(
        &Op::onnx("Conv", 21).ints("pads", &[0, 1, 0, 1, 0, 0]).ints("strides", &[1, 2, 1]),
        &[
            Some(
                t::<f32>(
                    &[1, 1, 3, 3, 3],
                    &[
                        2.25, -1.25, -0.75, 0.75, 0.75, -1.75, -1.5, 1.0, 1.5, 0.75, 2.0, -0.5,
                        -0.75, 1.5, -2.25, -1.5, -1.5, -0.5, -1.75, 1.5, 1.75, -0.5, -2.25, 1.0,
                        -1.75, 0.5, -1.5,
                    ],
                )
                .into(),
            ),
            Some(t::<f32>(&[1, 1, 2, 2, 2], &[2.0, 0.75, 2.25, 0.5, 1.0, -0.5, 1.5, -1.75]).into()),
            Some(t::<f32>(&[1], &[-1.75]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 3, 2, 2],
            &[
                0.3125, -1.0625, -3.6875, 2.6875, -4.3125, 1.6875, -9.125, -3.4375, -4.9375, 2.5,
                -8.125, -5.125,
            ],
        )],
    );
}

#[test]
fn conv_transpose_agrees_with_another_runtime() {
    check(
        &Op::onnx("ConvTranspose", 21)
            .int("group", 2)
            .ints("strides", &[2, 1])
            .ints("pads", &[1, 0, 0, 1])
            .ints("output_padding", &[1, 0]),
        &[
            Some(
                t::<f32>(
                    &[1, 2, 3, 2],
                    &[-0.75, 1.0, 0.0, 1.75, 2.0, -0.5, -0.25, 0.25, 0.75, 0.0, 0.5, 2.25],
                )
                .into(),
            ),
            Some(
                t::<f32>(
                    &[2, 1, 2, 3],
                    &[1.0, -0.75, -0.25, -0.5, -1.75, -2.25, 1.5, -0.5, -0.75, 0.5, 0.25, 2.0],
                )
                .into(),
            ),
            Some(t::<f32>(&[2], &[0.5, 2.0]).into()),
        ],
        &[t::<f32>(
            &[1, 2, 6, 3],
            &[
                0.875, 1.3125, 0.4375, 0.5, 2.25, -0.8125, 0.5, -0.375, -2.5625, 2.5, -1.5, 0.375,
                -0.5, -2.75, -3.125, 0.5, 0.5, 0.5, 1.875, 2.0625, 1.5625, 3.125, 1.625, 1.4375,
                2.375, 2.1875, 3.5, 2.75, 5.125, 0.5, 2.25, 3.25, 3.5625, 2.0, 2.0, 2.0,
            ],
        )],
    );
    check(
        &Op::onnx("ConvTranspose", 21).ints("strides", &[3]).ints("output_shape", &[10]),
        &[
            Some(t::<f32>(&[1, 2, 4], &[0.25, -0.75, -0.75, 2.25, 0.5, -1.5, 1.5, 1.5]).into()),
            Some(
                t::<f32>(
                    &[2, 2, 3],
                    &[-2.25, -1.75, 1.0, -0.5, -0.75, -2.0, -1.5, 1.75, 1.5, 1.5, 0.25, -1.75],
                )
                .into(),
            ),
        ],
        &[t::<f32>(
            &[1, 2, 10],
            &[
                0.4375, 1.0, 3.9375, -1.3125, -3.0, -0.5625, 3.9375, 1.5, -7.3125, -1.3125,
                -0.0625, -1.375, -1.875, 0.1875, 4.125, 2.625, 0.9375, -1.125, 1.125, -1.3125,
            ],
        )],
    );
    check(
        &Op::onnx("ConvTranspose", 21).ints("strides", &[1, 2, 2]).ints("dilations", &[2, 1, 1]),
        &[
            Some(
                t::<f32>(&[1, 1, 2, 2, 2], &[-0.75, 0.25, 2.25, -1.25, 0.25, 0.0, 0.0, 0.25])
                    .into(),
            ),
            Some(t::<f32>(&[1, 1, 2, 1, 2], &[1.0, -1.75, 2.25, 1.75]).into()),
        ],
        &[t::<f32>(
            &[1, 1, 4, 3, 4],
            &[
                -0.75, 1.3125, 0.25, -0.4375, 0.0, 0.0, 0.0, 0.0, 2.25, -3.9375, -1.25, 2.1875,
                0.25, -0.4375, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, -0.4375, -1.6875,
                -1.3125, 0.5625, 0.4375, 0.0, 0.0, 0.0, 0.0, 5.0625, 3.9375, -2.8125, -2.1875,
                0.5625, 0.4375, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5625, 0.4375,
            ],
        )],
    );
}

/// Numbers that look random, in [-1, 1].
fn wave(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + seed) * 7919 + seed) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// A plain convolution of two spatial axes by definition, in `f64`.
#[derive(Clone, Copy)]
struct Plain {
    x: [usize; 4],
    w: [usize; 4],
    group: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Plain {
    fn op(self) -> Op {
        let (s, d, p) = (self.stride as i64, self.dilation as i64, self.pad as i64);
        Op::onnx("Conv", 11)
            .int("group", self.group as i64)
            .ints("strides", &[s, s])
            .ints("dilations", &[d, d])
            .ints("pads", &[p, p, p, p])
    }

    fn expected(self, x: &[f32], w: &[f32], b: &[f32]) -> Tensor {
        let ([n, c, h, wd], [oc, ic, kh, kw]) = (self.x, self.w);
        let out = |size: usize, k: usize| {
            (size + 2 * self.pad - (k - 1) * self.dilation - 1) / self.stride + 1
        };
        let (oh, ow) = (out(h, kh), out(wd, kw));
        let mut y = vec![];
        for i in 0..n * oc * oh * ow {
            let (px, py, o, n) = (i % ow, i / ow % oh, i / ow / oh % oc, i / ow / oh / oc);
            let mut sum = f64::from(b[o]);
            for j in 0..ic * kh * kw {
                let (kx, ky, cc) = (j % kw, j / kw % kh, j / kw / kh);
                let sy = (py * self.stride + ky * self.dilation).wrapping_sub(self.pad);
                let sx = (px * self.stride + kx * self.dilation).wrapping_sub(self.pad);
                if sy < h && sx < wd {
                    let channel = o / (oc / self.group) * ic + cc;
                    let at = ((n * c + channel) * h + sy) * wd + sx;
                    sum += f64::from(x[at]) * f64::from(w[o * ic * kh * kw + j]);
                }
            }
            y.push(sum as f32);
        }
        Tensor::from_vec(&[n, oc, oh, ow], y).unwrap()
    }
}

#[test]
fn every_way_of_computing_agrees_with_the_definition() {
    let plain = |x, w, group, stride, dilation, pad| Plain { x, w, group, stride, dilation, pad };
    for p in [
        // Several tiles of positions, several blocks of channels, the last ones partial.
        plain([1, 130, 21, 20], [75, 130, 5, 5], 1, 1, 1, 2),
        // One element, stride 1: no unfolding. Stride 2: unfolded.
        plain([2, 5, 6, 7], [40, 5, 1, 1], 1, 1, 1, 0),
        plain([2, 5, 6, 7], [3, 5, 1, 1], 1, 2, 1, 0),
        // Depthwise: three columns at once, with and without room for it; other widths.
        plain([2, 6, 9, 8], [6, 1, 3, 3], 6, 1, 1, 1),
        plain([1, 4, 5, 1], [8, 1, 3, 3], 4, 1, 1, 1),
        plain([1, 4, 9, 8], [4, 1, 3, 3], 4, 2, 1, 1),
        plain([1, 4, 9, 8], [4, 1, 3, 3], 4, 1, 3, 4),
        plain([1, 3, 9, 8], [6, 1, 5, 5], 3, 1, 1, 4),
        // Groups, and padding wider than the kernel.
        plain([3, 6, 5, 5], [4, 3, 3, 2], 2, 2, 2, 3),
    ] {
        let x = wave(p.x.iter().product(), 1);
        let w = wave(p.w.iter().product(), 2);
        let b = wave(p.w[0], 3);
        let expected = p.expected(&x, &w, &b);
        let inputs = [t(&p.x, &x), t(&p.w, &w), t(&[p.w[0]], &b)];
        let got = p.op().constant(&[1, 2]).run1(&inputs);
        let (g, e) = (got.as_slice::<f32>().unwrap(), expected.as_slice::<f32>().unwrap());
        assert_eq!(got.dims(), expected.dims());
        assert!(g.iter().zip(e).all(|(g, e)| (g - e).abs() < 2e-3), "{:?} {:?}", p.x, p.w);
        assert_eq!(p.op().threads(3).run1(&inputs), got);
    }
}

#[test]
fn an_image_has_the_same_bits_alone_and_in_a_batch() {
    for (group, w) in [(1, [40, 24, 3, 3]), (24, [24, 1, 3, 3]), (1, [40, 24, 1, 1])] {
        let op = |threads| Op::onnx("Conv", 11).int("group", group).threads(threads);
        let x = wave(9 * 24 * 30 * 30, 5);
        let w = t(&w, &wave(w.iter().product(), 6));
        let all = op(2).run1(&[t(&[9, 24, 30, 30], &x), w.clone()]);
        let all = all.as_slice::<f32>().unwrap();
        let image = all.len() / 9;
        for i in [0, 4, 8] {
            let x = &x[i * 24 * 900..(i + 1) * 24 * 900];
            let one = op(1).run1(&[t(&[1, 24, 30, 30], x), w.clone()]);
            assert_eq!(one.as_slice::<f32>().unwrap(), &all[i * image..(i + 1) * image]);
        }
    }
}

#[test]
fn conv_transpose_is_the_adjoint_of_conv() {
    // <conv(x), y> = <x, conv_transpose(y)> for the same weights.
    let (x, y) = (wave(4 * 11 * 9, 1), wave(10 * 5 * 5, 2));
    let w = t(&[10, 2, 3, 2], &wave(10 * 2 * 3 * 2, 3));
    let with = |op: Op| op.int("group", 2).ints("strides", &[2, 2]).ints("pads", &[1, 0, 0, 1]);
    let conv = with(Op::onnx("Conv", 11)).run1(&[t(&[1, 4, 11, 9], &x), w.clone()]);
    assert_eq!(conv.dims(), [1, 10, 5, 5]);
    let back = with(Op::onnx("ConvTranspose", 11)).ints("output_padding", &[1, 0]);
    let back = back.threads(2).run1(&[t(&[1, 10, 5, 5], &y), w]);
    assert_eq!(back.dims(), [1, 4, 11, 9]);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let forth = dot(conv.as_slice().unwrap(), &y);
    let backwards = dot(&x, back.as_slice().unwrap());
    assert!((forth - backwards).abs() < 1e-3, "{forth} {backwards}");
}

#[test]
fn a_fused_activation_comes_after_the_sum() {
    let (x, w) = (t(&[1, 1, 1, 3], &[-2f32, 0.5, 3.0]), t(&[1, 1, 1, 1], &[2f32]));
    let (b, z) = (t(&[1], &[1f32]), t(&[1, 1, 1, 3], &[0f32, -3.0, 1.0]));
    let op = |name: &str| Op::new("com.microsoft", "FusedConv", 1).string("activation", name);
    let out = op("Relu").run1(&[x.clone(), w.clone(), b.clone(), z]);
    assert_eq!(out.as_slice::<f32>().unwrap(), [0.0, 0.0, 8.0]);
    let leaky = op("LeakyRelu").floats("activation_params", &[0.5]);
    let out = leaky.run1(&[x.clone(), w.clone(), b.clone()]);
    assert_eq!(out.as_slice::<f32>().unwrap(), [-1.5, 2.0, 7.0]);
    let clip = op("Clip").floats("activation_params", &[-1.0, 6.0]);
    let out = clip.run1(&[x.clone(), w.clone(), b.clone()]);
    assert_eq!(out.as_slice::<f32>().unwrap(), [-1.0, 2.0, 6.0]);
    assert_eq!(op("Swish").run(&[x, w, b]).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn other_precisions() {
    let x = t(&[1, 1, 3], &[1f64, 2.0, 3.0]);
    let out = Op::onnx("Conv", 11).run1(&[x, t(&[1, 1, 2], &[1f64, 0.1])]);
    assert_eq!(out.as_slice::<f64>().unwrap(), [1.2, 2.3]);
    let half = |v: &[f32]| v.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
    let inputs = [t(&[1, 1, 3], &half(&[1.0, 2.0, 3.0])), t(&[1, 1, 2], &half(&[1.0, 0.5]))];
    for op in [Op::onnx("Conv", 11), Op::onnx("Conv", 11).constant(&[1])] {
        assert_eq!(op.run1(&inputs).as_slice::<f16>().unwrap(), half(&[2.0, 3.5]));
    }
    let ints = [t(&[1, 1, 3], &[1i32, 2, 3]), t(&[1, 1, 2], &[1i32, 1])];
    assert!(Op::onnx("Conv", 11).run(&ints).is_err());
}

#[test]
fn empty_and_padded_away_inputs() {
    let w = t(&[2, 1, 3], &wave(6, 1));
    let conv = |pads: &[i64]| Op::onnx("Conv", 11).ints("pads", pads);
    let out = conv(&[1, 1]).run1(&[t::<f32>(&[0, 1, 4], &[]), w.clone()]);
    assert_eq!(out.dims(), [0, 2, 4]);
    let bias = t(&[2], &[5f32, 6.0]);
    let out = conv(&[2, 2]).run1(&[t::<f32>(&[1, 1, 0], &[]), w.clone(), bias]);
    assert_eq!(out, t(&[1, 2, 2], &[5f32, 5.0, 6.0, 6.0]));
    let out = conv(&[0, 0]).run1(&[t::<f32>(&[1, 0, 4], &[]), t::<f32>(&[2, 0, 3], &[])]);
    assert_eq!(out, t(&[1, 2, 2], &[0f32; 4]));
    let out =
        Op::onnx("ConvTranspose", 11).run1(&[t::<f32>(&[1, 0, 4], &[]), t::<f32>(&[0, 2, 3], &[])]);
    assert_eq!(out, t(&[1, 2, 6], &[0f32; 12]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, w) = (t(&[1, 2, 5, 5], &[1f32; 50]), t(&[2, 2, 3, 3], &[1f32; 36]));
    let inputs = [x.clone(), w.clone()];
    let model = |op: Op| {
        assert_eq!(op.constant(&[1]).run(&inputs).unwrap_err().kind(), ErrorKind::InvalidModel);
    };
    for name in ["Conv", "ConvTranspose"] {
        let op = || Op::onnx(name, 11);
        model(op().ints("strides", &[0, 1]));
        model(op().ints("strides", &[1]));
        model(op().ints("dilations", &[1, -1]));
        model(op().ints("pads", &[0, 0, -1, 0]));
        model(op().ints("pads", &[0, 0, i64::MAX, 0]));
        model(op().ints("kernel_shape", &[3, 2]));
        model(op().int("group", 0));
        model(op().int("group", 3));
        model(op().string("auto_pad", "SOME"));
    }
    let input = |op: Op, inputs: &[Tensor]| {
        assert_eq!(op.run(inputs).unwrap_err().kind(), ErrorKind::InvalidInput);
    };
    let conv = || Op::onnx("Conv", 11);
    input(conv(), &[t(&[1, 3, 5, 5], &[1f32; 75]), w.clone()]);
    input(conv(), &[t(&[1, 2, 2, 5], &[1f32; 20]), w.clone()]);
    input(conv(), &[t(&[1, 2, 5], &[1f32; 10]), w.clone()]);
    input(conv(), &[x.clone(), w.clone(), t(&[3], &[1f32; 3])]);
    input(conv().ints("dilations", &[1 << 29, 1]), &inputs);
    let wide = conv().ints("pads", &[1 << 29, 1 << 29, 1 << 29, 1 << 29]);
    assert_eq!(wide.run(&inputs).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let far = Op::onnx("ConvTranspose", 11).ints("strides", &[1 << 30, 1 << 30]);
    assert_eq!(far.run(&inputs).unwrap_err().kind(), ErrorKind::LimitExceeded);
}
