use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Element, Tensor, Value};
use half::f16;

fn microsoft(op: &'static str) -> Op {
    Op::new("com.microsoft", op, 1)
}

/// Numbers of all sizes, in no order.
fn mixed<T: Element>(dims: &[usize], seed: usize, of: impl Fn(u8) -> T) -> Tensor {
    let n: usize = dims.iter().product();
    t(dims, &(0..n).map(|i| of(((i * 97 + seed * 41) % 251) as u8)).collect::<Vec<_>>())
}

fn ints(tensor: &Tensor) -> Vec<i64> {
    tensor.to_i64_vec().unwrap()
}

/// The product of m × k by k × n numbers, by its definition.
fn exact(
    m: usize,
    k: usize,
    n: usize,
    a: impl Fn(usize) -> i64,
    b: impl Fn(usize) -> i64,
) -> Vec<i32> {
    let cell = |i: usize, j: usize| (0..k).map(|x| a(i * k + x) * b(x * n + j)).sum::<i64>() as i32;
    (0..m * n).map(|at| cell(at / n, at % n)).collect()
}

#[test]
fn integer_products_subtract_zero_points() {
    let op = Op::onnx("MatMulInteger", 10);
    let a = t(&[4, 3], &[11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
    let b = t(&[3, 2], &[1u8, 4, 2, 5, 3, 6]);
    let expected = t(&[4, 2], &[-38, -83, -44, -98, -50, -113, -56, -128]);
    let inputs = [a.clone(), b.clone(), t(&[1], &[12u8]), t(&[1], &[0u8])];
    assert_eq!(op.run1(&inputs), expected);
    assert_eq!(Op::onnx("MatMulInteger", 10).constant(&[1, 3]).run1(&inputs), expected);
    // Without zero points; a vector is a row.
    assert_eq!(op.run1(&[t(&[3], &[1i8, -2, 3]), b.clone()]), t(&[2], &[6, 12]));
    // One zero point a row of A and a column of B.
    let inputs = [a, b, t(&[4], &[11u8, 10, 9, 8]), t(&[2], &[1u8, 4])];
    // Every row is (0, -4, -8) then, every column (0, 1, 2).
    let rows = [-20i32; 8];
    assert_eq!(op.run1(&inputs), t(&[4, 2], &rows));
    assert!(op.run(&[t(&[1, 2], &[1u8; 2]), t(&[3, 1], &[1u8; 3])]).is_err());
    assert!(op.run(&[t(&[1, 2], &[1i32; 2]), t(&[2, 1], &[1u8; 2])]).is_err());
    let empty = op.run1(&[t::<u8>(&[2, 0], &[]), t::<u8>(&[0, 3], &[])]);
    assert_eq!(empty, t(&[2, 3], &[0i32; 6]));
}

#[test]
fn stacks_of_integer_products_broadcast() {
    let (m, k, n) = (5, 37, 18);
    let a = mixed(&[2, 1, m, k], 1, |v| v);
    let b = mixed(&[3, k, n], 2, |v| v as i8);
    let a_zero = mixed(&[2, 1, m, 1], 3, |v| v);
    let b_zero = mixed(&[3, 1, n], 4, |v| v as i8);
    let op = Op::onnx("MatMulInteger", 10);
    let out = op.run1(&[a.clone(), b.clone(), a_zero.clone(), b_zero.clone()]);
    assert_eq!(out.dims(), [2, 3, m, n]);
    let (a, b, a_zero, b_zero) = (ints(&a), ints(&b), ints(&a_zero), ints(&b_zero));
    let mut expected = vec![];
    for i in 0..2 {
        for j in 0..3 {
            expected.extend(exact(
                m,
                k,
                n,
                |at| a[i * m * k + at] - a_zero[i * m + at / k],
                |at| b[j * k * n + at] - b_zero[j * n + at % n],
            ));
        }
    }
    assert_eq!(out.as_slice::<i32>().unwrap(), expected);
    // One B for all matrices of A, on several threads.
    let a = mixed(&[4, 33, 64], 5, |v| v);
    let b = mixed(&[64, 130], 6, |v| v);
    let inputs = [a.clone(), b.clone(), t(&[], &[7u8]), mixed(&[130], 7, |v| v)];
    let zero = ints(&inputs[3]);
    let (a, b) = (ints(&a), ints(&b));
    let expected = exact(4 * 33, 64, 130, |at| a[at] - 7, |at| b[at] - zero[at % 130]);
    for op in [Op::onnx("MatMulInteger", 10).threads(3), op.constant(&[1, 3])] {
        let out = op.run1(&inputs);
        assert_eq!(out.dims(), [4, 33, 130]);
        assert_eq!(out.as_slice::<i32>().unwrap(), expected);
    }
}

#[test]
fn quantised_products_round_to_the_output_scale() {
    let bytes = |dims: &[usize], v: &[u8]| t(dims, v);
    let a = bytes(&[2, 4], &[208, 236, 0, 238, 3, 214, 255, 29]);
    let b = bytes(&[4, 3], &[152, 51, 244, 60, 26, 255, 0, 127, 246, 127, 254, 247]);
    let expected = t(&[2, 3], &[168u8, 115, 255, 1, 66, 151]);
    let floats = [t(&[1], &[0.0066f32]), t(&[1], &[0.00705f32]), t(&[1], &[0.0107f32])];
    let halves = [0.0066, 0.00705, 0.0107].map(|v| t(&[1], &[f16::from_f32(v)]));
    for [a_scale, b_scale, y_scale] in [floats, halves] {
        let inputs = [
            a.clone(),
            a_scale,
            t(&[1], &[113u8]),
            b.clone(),
            b_scale,
            t(&[1], &[114u8]),
            y_scale,
            t(&[1], &[118u8]),
        ];
        assert_eq!(Op::onnx("QLinearMatMul", 21).run1(&inputs), expected);
        assert_eq!(Op::onnx("QLinearMatMul", 10).constant(&[3, 5]).run1(&inputs), expected);
    }
    // A scale a row and a scale a column: 2 · 3 · (1 · 1 + 1 · 1) / 4 = 3, and so on.
    let inputs = [
        t(&[2, 2], &[1i8, 1, 2, 2]),
        t(&[2], &[2f32, 1.0]),
        t(&[2], &[0i8; 2]),
        t(&[2, 2], &[1i8, -1, 1, -1]),
        t(&[2], &[3f32, 1.0]),
        t(&[2], &[0i8; 2]),
        t(&[], &[4f32]),
        t(&[], &[100u8]),
    ];
    // Sums 2, -2, 4, -4; times 6, 2, 3, 1, by 4: 3, -1, 3, -1.
    assert_eq!(Op::onnx("QLinearMatMul", 10).run1(&inputs), t(&[2, 2], &[103u8, 99, 103, 99]));
}

#[test]
fn products_become_floats() {
    let a = t(&[1, 2], &[3u8, 5]);
    let b = t(&[2, 2], &[1i8, 2, -3, 4]);
    let inputs = [
        a.clone(),
        b.clone(),
        t(&[], &[0.5f32]),
        t(&[2], &[2f32, 4.0]),
        t(&[], &[1u8]),
        t(&[2], &[1i8, 0]),
        t(&[2], &[10f32, 20.0]),
    ];
    // (2, 4) · ((0, 2), (-4, 4)) = (-16, 20); times (1, 2), plus (10, 20).
    let expected = t(&[1, 2], &[-6f32, 60.0]);
    assert_eq!(microsoft("MatMulIntegerToFloat").run1(&inputs), expected);
    assert_eq!(microsoft("MatMulIntegerToFloat").constant(&[1, 5]).run1(&inputs), expected);
    let half = |v: f32| t(&[], &[f16::from_f32(v)]);
    let out = microsoft("MatMulIntegerToFloat").run1(&[a, b, half(0.5), half(2.0)]);
    assert_eq!(out, t(&[1, 2], &[-12f32, 26.0].map(f16::from_f32)));

    // The range -1..2 has steps of 3/255 and the zero point 85: the levels are 0, 85 and 255.
    let x = t(&[1, 3], &[-1f32, 0.0, 2.0]);
    let b = t(&[3, 1], &[10u8, 20, 40]);
    let inputs = [x, b, t(&[1], &[0.5f32]), t(&[1], &[10u8]), t(&[1], &[1f32])];
    // (-85 · 0 + 0 · 10 + 170 · 30) · (3/255 · 0.5) + 1 = 31
    assert_close(&microsoft("DynamicQuantizeMatMul").run1(&inputs), &t(&[1, 1], &[31f32]));
    let op = microsoft("DynamicQuantizeMatMul").constant(&[1, 3]);
    assert_close(&op.run1(&inputs), &t(&[1, 1], &[31f32]));
}

#[test]
fn general_products_add_and_scale() {
    // ((1, 2), (3, 4))ᵀ less 1 = ((0, 2), (1, 3)); B less 1 = ((0, 1), (2, 3)).
    let a = t(&[2, 2], &[1u8, 2, 3, 4]);
    let b = t(&[2, 2], &[1i8, 3, 2, 4]);
    let base = |c: Option<Tensor>, y: Option<[Tensor; 2]>| -> Vec<Option<Value>> {
        let [y_scale, y_zero] = y.map_or([None, None], |y| y.map(Some));
        let scale = |v: f32| Some(t(&[], &[v]));
        [
            Some(a.clone()),
            scale(0.5),
            Some(t(&[], &[1u8])),
            Some(b.clone()),
            scale(2.0),
            Some(t(&[], &[1i8])),
            c,
            y_scale,
            y_zero,
        ]
        .map(|t| t.map(Value::Tensor))
        .to_vec()
    };
    let op = || microsoft("QGemm").int("transA", 1).int("transB", 1).float("alpha", 2.0);
    let run = |op: Op, inputs: &[Option<Value>]| {
        op.run_values(inputs).unwrap().remove(0).into_tensor().unwrap()
    };
    // ((0, 2), (1, 3)) · ((0, 1), (2, 3)) = ((4, 6), (6, 10)), times 2.
    let out = run(op(), &base(None, None));
    assert_eq!(out, t(&[2, 2], &[8f32, 12.0, 12.0, 20.0]));
    let out = run(op().constant(&[3, 5]), &base(Some(t(&[2], &[1i32, -1])), None));
    assert_eq!(out, t(&[2, 2], &[10f32, 10.0, 14.0, 18.0]));
    let out = run(op(), &base(Some(t(&[2, 1], &[1i32, -1])), None));
    assert_eq!(out, t(&[2, 2], &[10f32, 14.0, 10.0, 18.0]));
    let out = run(op(), &base(None, Some([t(&[], &[4f32]), t(&[], &[250u8])])));
    assert_eq!(out, t(&[2, 2], &[252u8, 253, 253, 255]));
    assert!(op().run_values(&base(Some(t(&[3], &[1i32; 3])), None)).is_err());
}

#[test]
fn integer_convolutions_pad_with_the_zero_point() {
    let x = t(&[1, 1, 3, 3], &[2u8, 3, 4, 5, 6, 7, 8, 9, 10]);
    let inputs = [x.clone(), t(&[1, 1, 2, 2], &[1u8; 4]), t(&[], &[1u8])];
    let out = Op::onnx("ConvInteger", 10).run1(&inputs);
    assert_eq!(out, t(&[1, 1, 2, 2], &[12i32, 16, 24, 28]));
    let inputs = [x, t(&[2, 1, 2, 2], &[1u8; 8]), t(&[], &[1u8]), t(&[2], &[0u8, 1])];
    let mut expected = vec![1i32, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9];
    expected.extend([0; 16]);
    for op in [Op::onnx("ConvInteger", 10), Op::onnx("ConvInteger", 10).constant(&[1, 3])] {
        let out = op.ints("pads", &[1, 1, 1, 1]).run1(&inputs);
        assert_eq!(out, t(&[1, 2, 4, 4], &expected));
    }
    assert!(Op::onnx("ConvInteger", 10).int("group", 2).run(&inputs).is_err());
}

/// A convolution by its definition: stride 2, dilation 1, padding 1 all around.
fn convolved(
    [images, channels, height, width]: [usize; 4],
    [outs, per, kh, kw]: [usize; 4],
    x: &[i64],
    w: &[i64],
) -> Vec<i32> {
    let groups = channels / per;
    let (oh, ow) = ((height + 2 - kh) / 2 + 1, (width + 2 - kw) / 2 + 1);
    let mut out = vec![];
    for i in 0..images {
        for o in 0..outs {
            for y in 0..oh {
                for z in 0..ow {
                    let mut sum = 0;
                    for c in 0..per {
                        for k in 0..kh * kw {
                            let (r, s) = (2 * y + k / kw, 2 * z + k % kw);
                            if (1..=height).contains(&r) && (1..=width).contains(&s) {
                                let channel = o / (outs / groups) * per + c;
                                let at = (i * channels + channel) * height + r - 1;
                                sum += x[at * width + s - 1] * w[(o * per + c) * kh * kw + k];
                            }
                        }
                    }
                    out.push(sum as i32);
                }
            }
        }
    }
    out
}

#[test]
fn integer_convolutions_of_all_kinds_are_exact() {
    // Several groups, one channel a group, many filters a channel, many images.
    for (x_dims, w_dims) in [
        ([2, 6, 9, 8], [8, 3, 3, 3]),
        ([1, 4, 7, 7], [8, 1, 3, 2]),
        ([1, 1, 9, 9], [7, 1, 3, 3]),
        ([7, 3, 5, 6], [5, 3, 1, 3]),
    ] {
        let (x, w) = (mixed(&x_dims, 1, |v| v), mixed(&w_dims, 2, |v| v as i8));
        let zero = mixed(&w_dims[..1], 3, |v| v as i8);
        let per = w.len() / w_dims[0];
        let zeros = ints(&zero);
        let centred: Vec<i64> =
            ints(&w).iter().enumerate().map(|(i, w)| w - zeros[i / per]).collect();
        let numbers: Vec<i64> = ints(&x).iter().map(|x| x - 9).collect();
        let expected = convolved(x_dims, w_dims, &numbers, &centred);
        for threads in [1, 3] {
            let out = Op::onnx("ConvInteger", 10)
                .int("group", (x_dims[1] / w_dims[1]) as i64)
                .ints("strides", &[2, 2])
                .ints("pads", &[1; 4])
                .threads(threads)
                .run1(&[x.clone(), w.clone(), t(&[], &[9u8]), zero.clone()]);
            assert_eq!(out.as_slice::<i32>().unwrap(), expected, "{w_dims:?} on {threads}");
        }
    }
}

#[test]
fn quantised_convolutions_scale_each_channel() {
    let pixels = [255u8, 174, 162, 25, 203, 168, 58];
    let inputs = [
        t(&[1, 1, 1, 7], &pixels),
        t(&[], &[0.003_692_047f32]),
        t(&[], &[132u8]),
        t(&[1, 1, 1, 1], &[0u8]),
        t(&[1], &[0.001_727_945_8f32]),
        t(&[1], &[255u8]),
        t(&[], &[0.001_626_812_6f32]),
        t(&[], &[123u8]),
    ];
    let expected = t(&[1, 1, 1, 7], &[0u8, 81, 93, 230, 52, 87, 197]);
    assert_eq!(Op::onnx("QLinearConv", 10).run1(&inputs), expected);
    let op = Op::onnx("QLinearConv", 10).constant(&[3, 5]);
    assert_eq!(op.run1(&inputs), expected);

    let inputs = [
        t(&[1, 1, 2], &[1u8, 3]),
        t(&[], &[0.5f32]),
        t(&[], &[0u8]),
        t(&[2, 1, 1], &[2i8, -2]),
        t(&[2], &[1f32, 2.0]),
        t(&[2], &[0i8, 0]),
        t(&[], &[2f32]),
        t(&[], &[-1i8]),
        t(&[2], &[4i32, 1]),
    ];
    // (2 + 4, 6 + 4) / 4 = 1.5, 2.5, both 2; (-2 + 1, -6 + 1) / 2 = -0.5, -2.5: 0 and -2.
    let out = Op::onnx("QLinearConv", 10).run1(&inputs);
    assert_eq!(out, t(&[1, 2, 2], &[1i8, 1, -1, -3]));
}

#[test]
fn weights_of_few_bits_are_unpacked_by_blocks() {
    let (n, k, block) = (3, 40, 16);
    let blocks = 3;
    let a = t(&[2, k], &(0..2 * k).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>());
    for bits in [2usize, 4, 8] {
        let most = (1u32 << bits) - 1;
        let level = |j: usize, i: usize| ((i * 5 + j * 3) as u32 * 7) & most;
        let mut bytes = vec![0u8; n * blocks * block * bits / 8];
        for j in 0..n {
            for i in 0..blocks * block {
                let at = (j * blocks * block + i) * bits;
                bytes[at / 8] |= (level(j, i) as u8) << (at % 8);
            }
        }
        let b = t(&[n, blocks, block * bits / 8], &bytes);
        let scales: Vec<f32> = (0..n * blocks).map(|i| 0.5 + i as f32).collect();
        let packed = (blocks * bits).div_ceil(8);
        let zero = |j: usize, b: usize| (j + 2 * b) as u32 & most;
        let mut zeros = vec![0u8; n * packed];
        for j in 0..n {
            for b in 0..blocks {
                zeros[j * packed + b * bits / 8] |= (zero(j, b) as u8) << (b * bits % 8);
            }
        }
        let bias = [1f32, -2.0, 3.0];
        let expected = |zero: &dyn Fn(usize, usize) -> f32, group: &dyn Fn(usize) -> usize| {
            let a = a.as_slice::<f32>().unwrap();
            let weight = |j: usize, i: usize| {
                let g = group(i);
                (level(j, i) as f32 - zero(j, g)) * scales[j * blocks + g]
            };
            let out: Vec<f32> = (0..2 * n)
                .map(|at| {
                    let (row, j) = (at / n, at % n);
                    (0..k).map(|i| a[row * k + i] * weight(j, i)).sum::<f32>() + bias[j]
                })
                .collect();
            t(&[2, n], &out)
        };
        let op = || {
            microsoft("MatMulNBits")
                .int("K", k as i64)
                .int("N", n as i64)
                .int("bits", bits as i64)
                .int("block_size", block as i64)
                .int("accuracy_level", 4)
        };
        let scales_tensor = t(&[n, blocks], &scales);
        let run = |zeros: Option<Tensor>, groups: Option<Tensor>| {
            let all = [
                Some(a.clone()),
                Some(b.clone()),
                Some(scales_tensor.clone()),
                zeros,
                groups,
                Some(t(&[n], &bias)),
            ];
            let all = all.map(|t| t.map(Value::Tensor));
            op().run_values(&all).unwrap().remove(0).into_tensor().unwrap()
        };
        let own = |i: usize| i / block;
        let middle = (1u32 << (bits - 1)) as f32;
        assert_close(&run(None, None), &expected(&|_, _| middle, &own));
        let packed_zeros = t(&[n, packed], &zeros);
        let given = |j: usize, b: usize| zero(j, b) as f32;
        assert_close(&run(Some(packed_zeros.clone()), None), &expected(&given, &own));
        let numbers: Vec<f32> = (0..n * blocks).map(|i| i as f32 * 0.5).collect();
        let halves = |j: usize, b: usize| numbers[j * blocks + b];
        assert_close(&run(Some(t(&[n * blocks], &numbers)), None), &expected(&halves, &own));
        let groups: Vec<i32> = (0..k as i32).map(|i| (i + 1) % 3).collect();
        let other = |i: usize| groups[i] as usize;
        let out = run(Some(packed_zeros), Some(t(&[k], &groups)));
        assert_close(&out, &expected(&given, &other));
        // A row alone has the same bits.
        let first = t(&[k], &a.as_slice::<f32>().unwrap()[..k]);
        let alone = op().run1(&[first, b.clone(), scales_tensor.clone()]);
        let both = op().run1(&[a.clone(), b.clone(), scales_tensor.clone()]);
        assert_eq!(alone.as_slice::<f32>().unwrap(), &both.as_slice::<f32>().unwrap()[..n]);
        assert!(op().run(&[a.clone(), b, t(&[n], &[1f32; 3])]).is_err());
    }
    let good = microsoft("MatMulNBits").int("K", 16).int("N", 1).int("block_size", 16);
    let inputs = [t(&[16], &[1f32; 16]), t(&[1, 1, 8], &[0u8; 8]), t(&[1], &[1f32])];
    assert!(good.run(&inputs).is_ok());
    assert!(microsoft("MatMulNBits").int("K", 16).int("N", 1).run(&inputs).is_err());
    let huge = microsoft("MatMulNBits").int("K", 0).int("N", 1 << 40).int("block_size", 16);
    let inputs = [t::<f32>(&[0, 0], &[]), t::<u8>(&[0], &[]), t::<f32>(&[0], &[])];
    let _ = huge.run(&inputs); // No matter what it answers, it allocates nothing large.
}
