//! candle's operators against the library's own, on numbers that look random.

use super::SERIAL;
use crate::kernel::testing::{Op, strings, t};
use crate::tensor::{Data, Element, Tensor};

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From -3 to 3.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 24) as f32 * 6.0 - 3.0
    }

    fn tensor(&mut self, dims: &[usize]) -> Tensor {
        self.map(dims, |x| x)
    }

    fn map<T: Element>(&mut self, dims: &[usize], f: impl Fn(f32) -> T) -> Tensor {
        let n = dims.iter().product();
        t(dims, &(0..n).map(|_| f(self.next())).collect::<Vec<T>>())
    }
}

/// The same elements in double precision.
fn wide(x: &Tensor) -> Tensor {
    match x.data() {
        Data::F32(_) => t(x.dims(), &x.to_f64_vec().unwrap()),
        _ => x.clone(),
    }
}

/// Sums of a few hundred f32 of this size, and elementary functions of two libraries, agree so far.
const F32: f64 = 1e-5;
const F64: f64 = 1e-9;

fn assert_near(op: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()), "{op}");
    if let Data::Bool(_) | Data::String(_) = want.data() {
        return assert_eq!(got, want, "{op}");
    }
    for (g, w) in got.to_f64_vec().unwrap().iter().zip(want.to_f64_vec().unwrap()) {
        let same = *g == w || g.is_nan() && w.is_nan();
        assert!(same || (g - w).abs() <= tolerance * (1.0 + w.abs()), "{op}: {g} and not {w}");
    }
}

/// Asserts that candle computes these inputs as our kernel does.
fn on_candle(op: &Op, name: &str, inputs: &[Tensor], tolerance: f64) {
    let (got, candle) = op.run_reference(inputs).unwrap();
    assert!(candle, "{name} of {inputs:?} did not run on candle");
    assert_near(name, &got, &op.run1(inputs), tolerance);
}

/// As [`on_candle`], in single and in double precision.
fn both(op: &Op, name: &str, inputs: &[Tensor]) {
    on_candle(op, name, inputs, F32);
    on_candle(op, name, &inputs.iter().map(wide).collect::<Vec<_>>(), F64);
}

/// Asserts that our own kernel takes these inputs, and answers or refuses them as ever.
fn on_ours(op: &Op, name: &str, inputs: &[Tensor]) {
    match (op.run_reference(inputs), op.run(inputs)) {
        (Ok((got, candle)), Ok(want)) => {
            assert!(!candle, "{name} of {inputs:?} ran on candle");
            assert_near(name, &got, &want[0], 0.0);
        }
        (Err(got), Err(want)) => assert_eq!(got.to_string(), want.to_string(), "{name}"),
        (got, want) => panic!("{name}: {got:?} and not {want:?}"),
    }
}

fn nan(dims: &[usize], at: usize) -> Tensor {
    let mut data = Random::new(3).tensor(dims).to_f32_vec().unwrap();
    data[at] = f32::NAN;
    t(dims, &data)
}

#[test]
fn functions_of_one_element() {
    let mut random = Random::new(1);
    let special =
        t(&[6], &[0.0f32, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE]);
    for name in [
        "Abs",
        "Ceil",
        "Cos",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "LeakyRelu",
        "Log",
        "Neg",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Sin",
        "Softsign",
        "Sqrt",
        "Tanh",
    ] {
        let op = Op::onnx(name, 21);
        for dims in [&[][..], &[7], &[3, 5], &[2, 1, 4]] {
            both(&op, name, &[random.tensor(dims)]);
        }
        if !matches!(name, "Gelu" | "Softsign") {
            both(&op, name, std::slice::from_ref(&special));
        }
        on_ours(&op, name, &[t::<f32>(&[0, 3], &[])]);
        on_ours(&op, name, &[random.tensor(&[SERIAL])]);
        on_ours(&op, name, &[t(&[2], &[-1i64, 2])]);
        both(&op, name, &[random.tensor(&[SERIAL - 1])]);
    }
    let tanh = Op::onnx("Gelu", 21).string("approximate", "tanh");
    both(&tanh, "Gelu", &[random.tensor(&[9])]);
    let bounds = [t(&[], &[-1f32]), t(&[], &[0.5f32])];
    let clip = Op::onnx("Clip", 13);
    for x in [random.tensor(&[3, 4]), special, nan(&[3], 1)] {
        both(&clip, "Clip", std::slice::from_ref(&x));
        both(&clip, "Clip", &[x.clone(), bounds[0].clone()]);
        both(&clip, "Clip", &[x.clone(), bounds[0].clone(), bounds[1].clone()]);
        both(&clip, "Clip", &[x.clone(), bounds[1].clone(), bounds[0].clone()]);
        both(&Op::onnx("Clip", 6).float("min", -1.0).float("max", 0.5), "Clip", &[x]);
    }
    on_ours(&clip, "Clip", &[random.tensor(&[2]), t(&[2], &[0f32, 1.0])]);
    on_ours(&clip, "Clip", &[random.tensor(&[2]), t(&[], &[f32::NAN])]);
    on_ours(&Op::onnx("Round", 21), "Round", &[t(&[2], &[0.5f32, 2.5])]);
}

#[test]
fn arithmetic_and_comparisons_broadcast() {
    let mut random = Random::new(2);
    let pairs: [[&[usize]; 2]; 6] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[2, 1, 4], &[3, 1]],
        [&[], &[2, 2]],
        [&[1], &[]],
        [&[1, 5], &[4, 1]],
    ];
    for name in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"] {
        let op = Op::onnx(name, 13);
        for [a, b] in pairs {
            both(&op, name, &[random.tensor(a), random.tensor(b)]);
        }
        on_ours(&op, name, &[t::<f32>(&[0, 3], &[]), random.tensor(&[3])]);
        on_ours(&op, name, &[random.tensor(&[2]), random.tensor(&[3])]);
        on_ours(&op, name, &[random.tensor(&[2]), wide(&random.tensor(&[2]))]);
        on_ours(&op, name, &[t(&[2], &[i64::MAX, -1]), t(&[2], &[1i64, 1])]);
        // Small operands with a large result, too.
        on_ours(&op, name, &[random.tensor(&[256, 1]), random.tensor(&[256])]);
        let (a, b) = (nan(&[2, 3], 4), random.tensor(&[2, 3]));
        match name {
            "Max" | "Min" => on_ours(&op, name, &[b, a]),
            _ => both(&op, name, &[b, a]),
        }
    }
    both(&Op::onnx("Max", 13), "Max", &[&[2][..], &[3, 1], &[1]].map(|d| random.tensor(d)));
    let aligned = Op::onnx("Add", 6).int("broadcast", 1).int("axis", 0);
    on_ours(&aligned, "Add", &[random.tensor(&[2, 3]), random.tensor(&[2])]);
    for name in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        let op = Op::onnx(name, 16);
        for [a, b] in pairs {
            both(&op, name, &[random.map(a, f32::round), random.map(b, f32::round)]);
            let whole = |x: f32| x as i64;
            on_candle(&op, name, &[random.map(a, whole), random.map(b, whole)], 0.0);
        }
        both(&op, name, &[nan(&[2], 0), nan(&[2], 0)]);
        on_ours(&op, name, &[t(&[1], &[true]), t(&[1], &[true])]);
        on_ours(&op, name, &[strings(&[1], &["a"]), strings(&[1], &["a"])]);
    }
    let choice = Op::onnx("Where", 16);
    let condition = random.map(&[2, 1, 3], |x| x > 0.0);
    let x = [condition.clone(), random.tensor(&[4, 1]), random.tensor(&[3])];
    both(&choice, "Where", &x);
    let bools = [condition.clone(), t(&[1], &[true]), random.map(&[4, 3], |x| x > 0.0)];
    on_candle(&choice, "Where", &bools, 0.0);
    on_ours(&choice, "Where", &[condition, strings(&[], &["a"]), strings(&[], &["b"])]);
}

#[test]
fn products_of_all_ranks() {
    let mut random = Random::new(3);
    let op = Op::onnx("MatMul", 13).threads(2);
    let shapes: [[&[usize]; 2]; 9] = [
        [&[3, 4], &[4, 5]],
        [&[4], &[4, 5]],
        [&[3, 4], &[4]],
        [&[4], &[4]],
        [&[2, 3, 4], &[4, 5]],
        [&[2, 1, 3, 4], &[6, 4, 2]],
        [&[2, 2, 2, 3, 4], &[2, 2, 2, 4, 1]],
        [&[4], &[2, 4, 3]],
        [&[1, 64], &[64, 70]],
    ];
    for [a, b] in shapes {
        both(&op, "MatMul", &[random.tensor(a), random.tensor(b)]);
    }
    // Large enough to be split over threads.
    both(&op, "MatMul", &[random.tensor(&[100, 100]), random.tensor(&[100, 100])]);
    both(&op, "MatMul", &[nan(&[2, 3], 1), random.tensor(&[3, 2])]);
    for [a, b] in [[&[][..], &[2]], [&[2, 0], &[0, 3]], [&[2, 3], &[2, 3]]] {
        on_ours(&op, "MatMul", &[random.tensor(a), random.tensor(b)]);
    }
    on_ours(&op, "MatMul", &[t(&[1, 1], &[2i32]), t(&[1, 1], &[3i32])]);
    let gemm = Op::onnx("Gemm", 13).float("alpha", 0.5).float("beta", 2.0);
    let turned = Op::onnx("Gemm", 13).int("transA", 1).int("transB", 1);
    for c in [&[][..], &[1], &[5], &[1, 5], &[3, 1], &[3, 5]] {
        let c = random.tensor(c);
        both(&gemm, "Gemm", &[random.tensor(&[3, 4]), random.tensor(&[4, 5]), c.clone()]);
        both(&turned, "Gemm", &[random.tensor(&[4, 3]), random.tensor(&[5, 4]), c]);
    }
    both(&gemm, "Gemm", &[random.tensor(&[1, 4]), random.tensor(&[4, 1])]);
    for c in [&[4][..], &[2, 5], &[1, 1, 5], &[0]] {
        let c = random.tensor(c);
        on_ours(&gemm, "Gemm", &[random.tensor(&[3, 4]), random.tensor(&[4, 5]), c]);
    }
}

#[test]
fn reductions_of_any_axes() {
    let mut random = Random::new(4);
    let names = [
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "ReduceSumSquare",
    ];
    let axes: [&[i64]; 5] = [&[0], &[-1], &[0, 2], &[1, 0], &[0, 1, 2]];
    for name in names {
        for (keep, axes) in [0, 1].into_iter().flat_map(|keep| axes.map(|axes| (keep, axes))) {
            let x = random.tensor(&[3, 4, 5]);
            let old = Op::onnx(name, 11).int("keepdims", keep).ints("axes", axes);
            both(&old, name, std::slice::from_ref(&x));
            let new = Op::onnx(name, 18).int("keepdims", keep);
            both(&new, name, &[x, t(&[axes.len()], axes)]);
        }
        let op = Op::onnx(name, 18);
        both(&op, name, &[random.tensor(&[2, 3])]);
        match name {
            "ReduceMax" | "ReduceMin" => on_ours(&op, name, &[nan(&[2, 3], 4)]),
            _ => both(&op, name, &[nan(&[2, 3], 4)]),
        }
        on_ours(&op, name, &[t::<f32>(&[2, 0], &[])]);
        on_ours(&op, name, &[random.tensor(&[2]), t(&[1], &[1i64])]);
        on_ours(&op.int("noop_with_empty_axes", 1), name, &[random.tensor(&[2])]);
    }
    for name in ["ArgMax", "ArgMin"] {
        for (axis, keep) in [(0, 1), (1, 0), (-1, 1)] {
            let op = Op::onnx(name, 13).int("axis", axis).int("keepdims", keep);
            both(&op, name, &[random.map(&[3, 4, 2], f32::round)]);
        }
        on_ours(&Op::onnx(name, 13), name, &[nan(&[4], 2)]);
        let last = Op::onnx(name, 13).int("select_last_index", 1);
        on_ours(&last, name, &[t(&[3], &[1f32, 1.0, 1.0])]);
    }
}

#[test]
fn softmax_and_normalisations() {
    let mut random = Random::new(5);
    for name in ["Softmax", "LogSoftmax"] {
        for (version, axis) in [(13, -1), (13, 0), (13, 1), (11, 1), (11, 2)] {
            let op = Op::onnx(name, version).int("axis", axis);
            both(&op, name, &[random.tensor(&[2, 3, 4])]);
        }
        let op = Op::onnx(name, 13);
        both(&op, name, &[nan(&[2, 3], 4)]);
        both(&op, name, &[t(&[1, 3], &[1000f32, 0.0, -1000.0])]);
        on_ours(&op, name, &[t::<f32>(&[2, 0], &[])]);
        on_ours(&op, name, &[random.tensor(&[256, 256])]);
    }
    let layer = Op::onnx("LayerNormalization", 17);
    let (x, scale, bias) = (random.tensor(&[2, 3, 4]), random.tensor(&[4]), random.tensor(&[4]));
    both(&layer, "LayerNormalization", &[x.clone(), scale.clone()]);
    both(&layer, "LayerNormalization", &[x.clone(), scale.clone(), bias]);
    let two = Op::onnx("LayerNormalization", 17).int("axis", 1);
    both(&two, "LayerNormalization", &[x.clone(), random.tensor(&[3, 4]), random.tensor(&[3, 4])]);
    on_ours(&two, "LayerNormalization", &[x.clone(), scale.clone()]);
    // Where the mean of squares less the square of the mean would be nothing but error.
    let far = t(&[1, 4], &[10_001f32, 10_002.0, 10_003.0, 10_004.0]);
    both(&layer, "LayerNormalization", &[far, scale]);
    let four = random.tensor(&[2, 3, 2, 2]);
    let p = [random.tensor(&[3]), random.tensor(&[3])];
    let instance = Op::onnx("InstanceNormalization", 6);
    both(&instance, "InstanceNormalization", &[four.clone(), p[0].clone(), p[1].clone()]);
    on_ours(&instance, "InstanceNormalization", &[x, random.tensor(&[2]), p[1].clone()]);
    let positive = random.map(&[3], f32::abs);
    let [scale, bias] = p;
    let batch = Op::onnx("BatchNormalization", 15);
    for x in [four, random.tensor(&[4, 3])] {
        let mean = random.tensor(&[3]);
        let inputs = [x, scale.clone(), bias.clone(), mean, positive.clone()];
        both(&batch, "BatchNormalization", &inputs);
    }
}

#[test]
fn convolutions_and_pools() {
    let mut random = Random::new(6);
    let conv = |stride: i64, pad: i64, dilation: i64, group: i64, axes: usize| {
        Op::onnx("Conv", 11)
            .ints("strides", &vec![stride; axes])
            .ints("pads", &vec![pad; 2 * axes])
            .ints("dilations", &vec![dilation; axes])
            .int("group", group)
            .threads(2)
    };
    for (stride, pad, dilation, group) in
        [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 1), (1, 1, 1, 2), (2, 0, 1, 4), (3, 3, 1, 1)]
    {
        let depth = 4 / group as usize;
        let op = conv(stride, pad, dilation, group, 2);
        let (x, w, b) =
            (random.tensor(&[2, 4, 9, 7]), random.tensor(&[8, depth, 3, 2]), random.tensor(&[8]));
        both(&op, "Conv", &[x.clone(), w.clone()]);
        both(&op, "Conv", &[x, w, b.clone()]);
        let one = conv(stride, pad, dilation, group, 1);
        let (x, w) = (random.tensor(&[2, 4, 9]), random.tensor(&[8, depth, 3]));
        both(&one, "Conv", &[x, w, b]);
    }
    both(
        &conv(1, 0, 1, 1, 2),
        "Conv",
        &[random.tensor(&[2, 3, 4, 4]), random.tensor(&[5, 3, 1, 1])],
    );
    both(
        &conv(2, 1, 1, 1, 2),
        "Conv",
        &[random.tensor(&[1, 3, 4, 5]), random.tensor(&[5, 3, 1, 1])],
    );
    let (x, w) = (random.tensor(&[1, 2, 5, 5]), random.tensor(&[3, 1, 3, 3]));
    // Three filters in two groups, one padding a side, one stride an axis, three axes.
    on_ours(&conv(1, 0, 1, 2, 2), "Conv", &[x.clone(), w]);
    let w = random.tensor(&[2, 2, 3, 3]);
    let odd = Op::onnx("Conv", 11).ints("pads", &[1, 1, 0, 0]);
    on_ours(&odd, "Conv", &[x.clone(), w.clone()]);
    on_ours(&Op::onnx("Conv", 11).ints("strides", &[1, 2]), "Conv", &[x.clone(), w.clone()]);
    on_ours(&Op::onnx("Conv", 11), "Conv", &[x.clone(), w.clone(), random.tensor(&[1])]);
    let three = [random.tensor(&[1, 1, 3, 3, 3]), random.tensor(&[1, 1, 2, 2, 2])];
    on_ours(&Op::onnx("Conv", 11), "Conv", &three);
    on_ours(&Op::onnx("Conv", 11), "Conv", &[random.tensor(&[1, 2, 2, 2]), w]);
    for name in ["AveragePool", "MaxPool"] {
        for (kernel, strides) in [([2, 2], [2, 2]), ([3, 2], [1, 2]), ([5, 7], [1, 1])] {
            let op = Op::onnx(name, 11).ints("kernel_shape", &kernel).ints("strides", &strides);
            both(&op, name, &[random.tensor(&[2, 3, 5, 7])]);
        }
        let op = Op::onnx(name, 11).ints("kernel_shape", &[2, 2]);
        both(&op, name, &[t(&[1, 1, 2, 2], &[-5f32, -6.0, -7.0, -8.0])]);
        match name {
            "MaxPool" => on_ours(&op, name, &[nan(&[1, 1, 3, 3], 4)]),
            _ => both(&op, name, &[nan(&[1, 1, 3, 3], 4)]),
        }
        on_ours(&op, name, &[random.tensor(&[1, 1, 1, 1])]);
        on_ours(&op.ints("pads", &[1, 1, 1, 1]), name, std::slice::from_ref(&x));
        let ceil = Op::onnx(name, 11).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
        on_ours(&ceil.int("ceil_mode", 1), name, std::slice::from_ref(&x));
        let line = Op::onnx(name, 11).ints("kernel_shape", &[2]);
        on_ours(&line, name, &[random.tensor(&[1, 2, 5])]);
    }
    for dims in [&[2, 3, 4][..], &[2, 3, 4, 5]] {
        both(&Op::onnx("GlobalAveragePool", 1), "GlobalAveragePool", &[random.tensor(dims)]);
    }
}

#[test]
fn movement_keeps_every_bit() {
    let mut random = Random::new(7);
    let x = random.tensor(&[2, 3, 4]);
    let whole = |x: f32| x as i64;
    let bools = random.map(&[2, 3, 4], |x| x > 0.0);
    for x in [x.clone(), wide(&x), random.map(&[2, 3, 4], whole), bools] {
        on_candle(&Op::onnx("Transpose", 13), "Transpose", std::slice::from_ref(&x), 0.0);
        let op = Op::onnx("Transpose", 13).ints("perm", &[1, 0, 2]);
        on_candle(&op, "Transpose", std::slice::from_ref(&x), 0.0);
        on_candle(&Op::onnx("Expand", 13), "Expand", &[x.clone(), t(&[4], &[5i64, 1, 3, 1])], 0.0);
        for axis in [0, 1, -1] {
            let op = Op::onnx("Concat", 13).int("axis", axis);
            on_candle(&op, "Concat", &[x.clone(), x.clone()], 0.0);
            let op = Op::onnx("Gather", 13).int("axis", axis);
            on_candle(&op, "Gather", &[x.clone(), t(&[2, 2], &[0i64, -1, 1, -2])], 0.0);
            on_candle(&op, "Gather", &[x.clone(), t(&[], &[1i32])], 0.0);
            on_ours(&op, "Gather", &[x.clone(), t(&[1], &[9i64])]);
        }
    }
    on_ours(&Op::onnx("Transpose", 13), "Transpose", &[t(&[], &[1f32])]);
    on_ours(&Op::onnx("Transpose", 13), "Transpose", &[t(&[1, 2], &[1i8, 2])]);
    on_ours(&Op::onnx("Transpose", 13), "Transpose", &[strings(&[1, 1], &["a"])]);
    let concat = Op::onnx("Concat", 13).int("axis", 0);
    on_ours(&concat, "Concat", &[x.clone(), t::<f32>(&[0, 3, 4], &[])]);
    on_ours(&concat, "Concat", &[x.clone(), random.tensor(&[2, 2, 4])]);
    on_ours(&Op::onnx("Expand", 13), "Expand", &[x.clone(), t(&[1], &[-1i64])]);
    on_ours(&Op::onnx("Expand", 13), "Expand", &[x, t(&[1], &[3i64])]);
}

#[test]
fn conversions_truncate_and_saturate_alike() {
    let from: [Tensor; 7] = [
        t(&[7], &[1.9f32, -1.9, f32::NAN, 1e20, -1e20, 300.0, 16_777_217.0]),
        t(&[5], &[1.9f64, f64::NAN, 1e300, -1e300, 0.1]),
        t(&[4], &[i64::MAX, i64::MIN, 300, -1]),
        t(&[4], &[i32::MAX, i32::MIN, 300, -1]),
        t(&[2], &[255u8, 0]),
        t(&[3], &[u32::MAX, 256, 0]),
        t(&[2], &[true, false]),
    ];
    for x in &from {
        // float32, float64, int64, int32, uint8, uint32
        for to in [1, 11, 7, 6, 2, 12] {
            let op = Op::onnx("Cast", 13).int("to", to);
            on_candle(&op, "Cast", std::slice::from_ref(x), 0.0);
        }
        // bool, float16, str
        for to in [9, 10, 8] {
            on_ours(&Op::onnx("Cast", 13).int("to", to), "Cast", std::slice::from_ref(x));
        }
    }
}
