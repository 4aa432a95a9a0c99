//! Attributes and operands that no exporter writes: each is refused, or has the value that ONNX
//! gives it; what would be too large is refused before memory is taken for it.

use super::testing::{Op, t};
use crate::error::{Error, ErrorKind};
use crate::tensor::{Element, Tensor};
use std::slice::from_ref;

const MIN: i64 = i64::MIN;
const MAX: i64 = i64::MAX;
/// Times itself, it wraps to 0.
const HUGE: i64 = 1 << 62;

/// A tensor of the numbers from 0 on.
fn counted(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    t(dims, &(0..n).map(|x| x as f32).collect::<Vec<_>>())
}

/// Numbers in a row.
fn row<T: Element>(values: &[T]) -> Tensor {
    t(&[values.len()], values)
}

fn scalar<T: Element>(value: T) -> Tensor {
    t(&[], &[value])
}

/// What comes of it where all operands come with the request, and where those after the first are
/// known at load.
fn both_ways(op: &dyn Fn() -> Op, inputs: &[Tensor]) -> [Result<Vec<Tensor>, Error>; 2] {
    let known: Vec<usize> = (1..inputs.len()).collect();
    [op().run(inputs), op().constant(&known).run(inputs)]
}

/// Both ways it is refused, for one of these reasons.
#[track_caller]
fn refused_as(kinds: &[ErrorKind], what: &str, op: &dyn Fn() -> Op, inputs: &[Tensor]) {
    for result in both_ways(op, inputs) {
        match result {
            Ok(values) => panic!("{what} is answered with {values:?}"),
            Err(e) => assert!(kinds.contains(&e.kind()), "{what}: {e}"),
        }
    }
}

#[track_caller]
fn refused(what: &str, op: &dyn Fn() -> Op, inputs: &[Tensor]) {
    refused_as(&[ErrorKind::InvalidModel, ErrorKind::InvalidInput], what, op, inputs);
}

#[track_caller]
fn too_large(what: &str, op: &dyn Fn() -> Op, inputs: &[Tensor]) {
    refused_as(&[ErrorKind::LimitExceeded], what, op, inputs);
}

/// Both ways its first output is this one.
#[track_caller]
fn answers(what: &str, op: &dyn Fn() -> Op, inputs: &[Tensor], expected: &Tensor) {
    for result in both_ways(op, inputs) {
        match result {
            Ok(values) => assert_eq!(&values[0], expected, "{what}"),
            Err(e) => panic!("{what}: {e}"),
        }
    }
}

#[test]
fn windows_of_no_sense_are_refused() {
    let (x, w) = (counted(&[1, 1, 4, 4]), counted(&[1, 1, 2, 2]));
    for name in ["Conv", "ConvTranspose"] {
        let inputs = [x.clone(), w.clone()];
        for attribute in ["strides", "dilations", "kernel_shape"] {
            for bad in [0, -1, HUGE, MIN, MAX] {
                let op = || Op::onnx(name, 11).ints(attribute, &[bad, 1]);
                refused(&format!("{name} with {attribute} {bad}"), &op, &inputs);
            }
            let op = || Op::onnx(name, 11).ints(attribute, &[1]);
            refused(&format!("{name} with one of {attribute}"), &op, &inputs);
        }
        for bad in [HUGE, MAX, MIN, -9] {
            let op = || Op::onnx(name, 11).ints("pads", &[bad; 4]);
            refused(&format!("{name} with pads {bad}"), &op, &inputs);
        }
        for bad in [0, -1, 2, HUGE, MIN] {
            let op = || Op::onnx(name, 11).int("group", bad);
            refused(&format!("{name} with group {bad}"), &op, &inputs);
        }
    }
    for (name, version) in [("MaxPool", 12), ("AveragePool", 19), ("LpPool", 18)] {
        let pool = || Op::onnx(name, version).ints("kernel_shape", &[2, 2]);
        for attribute in ["strides", "dilations", "kernel_shape"] {
            for bad in [0, -1, HUGE, MIN, MAX] {
                let op = || pool().ints(attribute, &[bad, 1]);
                refused(&format!("{name} with {attribute} {bad}"), &op, from_ref(&x));
            }
        }
        for bad in [HUGE, MAX, MIN, -1] {
            let op = || pool().ints("pads", &[bad; 4]);
            refused(&format!("{name} with pads {bad}"), &op, from_ref(&x));
        }
        refused(&format!("{name} without a window"), &|| Op::onnx(name, version), from_ref(&x));
    }
    let col2im = || Op::onnx("Col2Im", 18);
    let columns = |image: &[i64]| [counted(&[1, 4, 4]), row(image), row(&[2i64, 2])];
    refused("Col2Im by steps of 0", &|| col2im().ints("strides", &[0, 0]), &columns(&[3, 3]));
    refused("Col2Im to a negative image", &col2im, &columns(&[-3, 3]));
    too_large("Col2Im to a huge image", &col2im, &columns(&[1 << 31, 1 << 31]));
    for place in [99i64, -1, MIN, MAX] {
        let inputs = [counted(&[1, 1, 1, 1]), t(&[1, 1, 1, 1], &[place])];
        let op = || Op::onnx("MaxUnpool", 11).ints("kernel_shape", &[2, 2]);
        refused(&format!("MaxUnpool to {place}"), &op, &inputs);
    }
    let channels = || counted(&[1, 2, 2, 2]);
    for size in [0, -1, MIN] {
        refused(
            &format!("LRN of {size}"),
            &|| Op::onnx("LRN", 13).int("size", size),
            &[channels()],
        );
    }
    for groups in [0, -1, 3, HUGE, MIN] {
        let inputs = [channels(), counted(&[2]), counted(&[2])];
        let op = || Op::onnx("GroupNormalization", 21).int("num_groups", groups);
        refused(&format!("{groups} groups"), &op, &inputs);
    }
    for block in [0, -1, 3, HUGE, MIN] {
        for name in ["DepthToSpace", "SpaceToDepth"] {
            let op = || Op::onnx(name, 13).int("blocksize", block);
            refused(&format!("{name} by {block}"), &op, &[counted(&[1, 4, 2, 2])]);
        }
    }
    for hidden in [0, -1, 7, HUGE, MIN] {
        let inputs = [counted(&[1, 1, 4]), counted(&[1, 4, 4]), counted(&[1, 4, 1])];
        let op = || Op::onnx("LSTM", 14).int("hidden_size", hidden);
        refused(&format!("LSTM of {hidden}"), &op, &inputs);
    }
}

#[test]
fn axes_out_of_range_are_refused() {
    let x = || counted(&[2, 3]);
    for axis in [2, -3, MIN, MAX] {
        for (name, version) in [("Softmax", 13), ("LogSoftmax", 13), ("ArgMax", 13)] {
            let op = || Op::onnx(name, version).int("axis", axis);
            refused(&format!("{name} along {axis}"), &op, &[x()]);
        }
        let along = |name: &'static str, version| move || Op::onnx(name, version).int("axis", axis);
        refused("Concat", &along("Concat", 13), &[x(), x()]);
        refused("Gather", &along("Gather", 13), &[x(), row(&[0i64])]);
        refused("GatherElements", &along("GatherElements", 13), &[x(), t(&[2, 3], &[0i64; 6])]);
        let scattered = [x(), t(&[1, 3], &[0i64; 3]), counted(&[1, 3])];
        refused("ScatterElements", &along("ScatterElements", 16), &scattered);
        refused("LayerNormalization", &along("LayerNormalization", 17), &[x(), counted(&[3])]);
        refused("TopK", &|| along("TopK", 11)().outputs(2), &[x(), row(&[1i64])]);
        refused("Split", &|| along("Split", 13)().outputs(2), &[x(), row(&[1i64, 1])]);
        refused("Compress", &along("Compress", 11), &[x(), row(&[true, true])]);
        let hot = [row(&[0i64, 1]), row(&[3i64]), counted(&[2])];
        refused("OneHot", &along("OneHot", 11), &hot);
        refused("CumSum", &|| Op::onnx("CumSum", 14), &[x(), scalar(axis)]);
        refused("ReduceSum", &|| Op::onnx("ReduceSum", 13), &[x(), row(&[axis])]);
        refused("Squeeze", &|| Op::onnx("Squeeze", 13), &[x(), row(&[axis])]);
        let cut = [x(), row(&[0i64]), row(&[1i64]), row(&[axis])];
        refused("Slice", &|| Op::onnx("Slice", 13), &cut);
    }
    for axis in [3, -4, MIN, MAX] {
        refused("Unsqueeze", &|| Op::onnx("Unsqueeze", 13), &[x(), row(&[axis])]);
        refused("Flatten", &|| Op::onnx("Flatten", 13).int("axis", axis), &[x()]);
    }
    refused("one axis twice", &|| Op::onnx("Unsqueeze", 13), &[x(), row(&[0i64, 0])]);
}

#[test]
fn permutations_and_parts_have_to_fit() {
    let x = || counted(&[2, 3]);
    for perm in [&[0, 0][..], &[0, 7], &[-1, 0], &[0], &[0, 1, 2], &[MAX, MIN]] {
        let op = || Op::onnx("Transpose", 13).ints("perm", perm);
        refused(&format!("perm {perm:?}"), &op, &[x()]);
    }
    let split = || Op::onnx("Split", 13).int("axis", 1).outputs(2);
    for sizes in [&[1i64, 1][..], &[-1, 4], &[HUGE, HUGE], &[MIN, MAX], &[3], &[]] {
        refused(&format!("parts of {sizes:?}"), &split, &[x(), row(sizes)]);
    }
    answers("an empty part", &split, &[x(), row(&[0i64, 3])], &t::<f32>(&[2, 0], &[]));
    for parts in [0, -1, 1 << 40, MIN] {
        let op = || Op::onnx("Split", 18).int("axis", 1).int("num_outputs", parts).outputs(2);
        refused(&format!("{parts} parts"), &op, &[x()]);
    }
    let reverse = || Op::onnx("ReverseSequence", 10);
    for lengths in [[MIN, 1, 1], [1, 9, 1], [-1, 1, 1]] {
        refused(&format!("lengths {lengths:?}"), &reverse, &[x(), row(&lengths)]);
    }
}

#[test]
fn slices_and_ranges_of_any_numbers() {
    let x = || counted(&[2, 3]);
    let slice = || Op::onnx("Slice", 13);
    let cut = |start: i64, end: i64, step: i64| {
        [x(), row(&[start]), row(&[end]), row(&[1i64]), row(&[step])]
    };
    refused("a step of 0", &slice, &cut(0, 3, 0));
    answers("the last alone", &slice, &cut(MAX, MIN, MIN), &t(&[2, 1], &[2f32, 5.0]));
    answers("the first alone", &slice, &cut(MIN, MAX, MAX), &t(&[2, 1], &[0f32, 3.0]));
    answers("all", &slice, &cut(MIN, MAX, 1), &x());
    let turned = t(&[2, 3], &[2f32, 1.0, 0.0, 5.0, 4.0, 3.0]);
    answers("all, turned round", &slice, &cut(MAX, MIN, -1), &turned);

    let range = || Op::onnx("Range", 11);
    let ints = |a: i64, b: i64, c: i64| [scalar(a), scalar(b), scalar(c)];
    refused("by 0", &range, &ints(0, 10, 0));
    too_large("all integers", &range, &ints(MIN, MAX, 1));
    answers("the wrong way", &range, &ints(0, MAX, -1), &t::<i64>(&[0], &[]));
    answers("two far apart", &range, &ints(MAX, MIN, MIN), &row(&[MAX, -1]));
    let floats = |a: f32, b: f32, c: f32| [scalar(a), scalar(b), scalar(c)];
    for (a, b, c) in [(0.0, 10.0, 0.0), (0.0, 10.0, f32::NAN), (f32::NAN, 1.0, 1.0)] {
        refused(&format!("from {a} to {b} by {c}"), &range, &floats(a, b, c));
    }
    refused("to infinity", &range, &floats(0.0, f32::INFINITY, 1.0));
    too_large("to 1e30", &range, &floats(0.0, 1e30, 1.0));
}

#[test]
fn results_beyond_the_limits_are_refused_before_they_are_made() {
    let x = || counted(&[2, 3]);
    let shaped = |name: &'static str, version| move || Op::onnx(name, version);
    let (tile, expand) = (shaped("Tile", 13), shaped("Expand", 13));
    too_large("Tile", &tile, &[x(), row(&[1i64 << 40, 1 << 40])]);
    too_large("Tile", &tile, &[x(), row(&[1i64 << 20, 1 << 14])]);
    too_large("Expand", &expand, &[x(), row(&[1i64 << 40, 1, 3])]);
    too_large("Expand", &expand, &[x(), row(&[HUGE, 4, 1, 1])]);
    for repeats in [&[-1i64, 1][..], &[1], &[MIN, 1]] {
        refused(&format!("Tile by {repeats:?}"), &tile, &[x(), row(repeats)]);
    }
    refused("Expand to a negative size", &expand, &[x(), row(&[-1i64, 3])]);
    answers("Tile by 0", &tile, &[x(), row(&[0i64, 1])], &t::<f32>(&[0, 3], &[]));

    let filled = shaped("ConstantOfShape", 9);
    for dims in [&[1i64 << 31, 1 << 31][..], &[HUGE], &[HUGE, 4], &[0, HUGE], &[1 << 20, 1 << 14]] {
        too_large(&format!("ConstantOfShape {dims:?}"), &filled, &[row(dims)]);
    }
    for size in [-5, MIN] {
        refused(&format!("ConstantOfShape {size}"), &filled, &[row(&[size])]);
    }
    let hot = shaped("OneHot", 11);
    let depth = |depth: i64| [row(&[0i64, 1]), row(&[depth]), counted(&[2])];
    for deep in [1 << 50, 1 << 31, MAX] {
        too_large(&format!("OneHot of {deep}"), &hot, &depth(deep));
    }
    for deep in [-1, MIN] {
        refused(&format!("OneHot of {deep}"), &hot, &depth(deep));
    }
    let nowhere = [row(&[MIN, MAX, -4, 3]), row(&[3i64]), counted(&[2])];
    answers("OneHot of no class", &hot, &nowhere, &t(&[4, 3], &[0f32; 12]));

    let pad = shaped("Pad", 13);
    too_large("Pad", &pad, &[x(), row(&[0i64, HUGE, 0, HUGE])]);
    too_large("Pad", &pad, &[x(), row(&[0i64, 1 << 40, 0, 0])]);
    for pads in [&[-9i64, 0, -9, 0][..], &[MIN, 0, 0, 0], &[0, -2, 0, -2], &[0, 0]] {
        refused(&format!("Pad by {pads:?}"), &pad, &[x(), row(pads)]);
    }
    for mode in ["reflect", "edge"] {
        let op = || Op::onnx("Pad", 13).string("mode", mode);
        let nothing = [t::<f32>(&[0, 3], &[]), row(&[1i64, 0, 1, 0])];
        refused(&format!("{mode} of nothing"), &op, &nothing);
    }
    let image = |grow: &[f32]| [counted(&[1, 1, 2, 2]), row(grow)];
    let upsample = shaped("Upsample", 9);
    too_large("Upsample", &upsample, &image(&[1.0, 1.0, 1e9, 1e9]));
    for scale in [0.0, -1.0, f32::NAN] {
        refused(&format!("Upsample by {scale}"), &upsample, &image(&[1.0, 1.0, scale, 1.0]));
    }
    too_large("HannWindow", &shaped("HannWindow", 17), &[scalar(1i64 << 50)]);
    refused("HannWindow", &shaped("HannWindow", 17), &[scalar(-1i64)]);
    let signal = |length: i64| [counted(&[1, 4, 1]), scalar(length)];
    too_large("DFT", &shaped("DFT", 17), &signal(1 << 50));
    for length in [0, -1, MIN] {
        refused(&format!("DFT of {length}"), &shaped("DFT", 17), &signal(length));
    }
    too_large("CenterCropPad", &shaped("CenterCropPad", 18), &[x(), row(&[1i64 << 50, 3])]);
    refused("CenterCropPad", &shaped("CenterCropPad", 18), &[x(), row(&[-1i64, 3])]);
    let grid = [counted(&[1, 2, 3]), row(&[1i64, 1, 1 << 31, 1 << 31])];
    too_large("AffineGrid", &shaped("AffineGrid", 20), &grid);
    let drawn = |n| move || Op::onnx("Multinomial", 7).int("sample_size", n);
    too_large("Multinomial", &drawn(1 << 50), &[x()]);
    refused("Multinomial", &drawn(-1), &[x()]);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let top = || Op::onnx("TopK", 11).outputs(2);
    let x = || counted(&[2, 3]);
    for k in [-1, -3, 4, HUGE, MIN, MAX] {
        refused(&format!("the {k} largest"), &top, &[x(), row(&[k])]);
    }
    answers("the none largest", &top, &[x(), row(&[0i64])], &t::<f32>(&[2, 0], &[]));
    let suppress = || Op::onnx("NonMaxSuppression", 11);
    let most = |n: i64| [counted(&[1, 2, 4]), counted(&[1, 1, 2]), row(&[n])];
    for none in [0, -1, MIN] {
        answers("no boxes", &suppress, &most(none), &t::<i64>(&[0, 3], &[]));
    }
    let none = t(&[2, 3], &[0f32; 6]);
    let triangle = || Op::onnx("Trilu", 14);
    answers("above all diagonals", &triangle, &[x(), scalar(MIN)], &x());
    answers("below all diagonals", &triangle, &[x(), scalar(MAX)], &none);
    for k in [MIN, MAX] {
        answers("no diagonal", &|| Op::onnx("EyeLike", 9).int("k", k), &[x()], &none);
    }
    let shape = |from, to| move || Op::onnx("Shape", 15).int("start", from).int("end", to);
    answers("the whole shape", &shape(MIN, MAX), &[x()], &row(&[2i64, 3]));
    answers("no shape", &shape(MAX, MIN), &[x()], &t::<i64>(&[0], &[]));
}

#[test]
fn operands_and_attributes_are_counted_and_typed() {
    let x = || counted(&[2, 2]);
    refused("Relu of nothing", &|| Op::onnx("Relu", 14), &[]);
    refused("Relu of two", &|| Op::onnx("Relu", 14), &[x(), x()]);
    refused("Gemm of one", &|| Op::onnx("Gemm", 13), &[x()]);
    refused("Add of three", &|| Op::onnx("Add", 14), &[x(), x(), x()]);
    refused("a text for an axis", &|| Op::onnx("Softmax", 13).string("axis", "1"), &[x()]);
    refused("a number for a list", &|| Op::onnx("Transpose", 13).int("perm", 0), &[x()]);
    refused("no 'to'", &|| Op::onnx("Cast", 13), &[x()]);
}

#[test]
fn equations_of_no_sense_are_refused() {
    let long = format!("{}->", "a".repeat(4000));
    let wide = format!("{}->", "i".repeat(60));
    for equation in [
        "",
        "->",
        "ij->k",
        "ij->ii",
        "i.j",
        "ij->ji->",
        "ij,ij",
        "1j->j",
        "ij,jk,->...",
        long.as_str(),
        wide.as_str(),
    ] {
        let op = || Op::onnx("Einsum", 12).string("equation", equation);
        refused(&format!("equation {equation:.20}"), &op, &[counted(&[2, 3])]);
    }
    let no_text = || Op::onnx("Einsum", 12).string("equation", "i\u{e9}->i");
    refused("a letter with an accent", &no_text, &[counted(&[2, 3])]);
    refused("no equation", &|| Op::onnx("Einsum", 12), &[counted(&[2, 3])]);
}

#[test]
fn indices_out_of_range_are_refused() {
    let x = || counted(&[2, 3]);
    let op = |name: &'static str, version| move || Op::onnx(name, version);
    for index in [2, -3, MIN, MAX] {
        let three = t(&[1, 3], &[index, 0, 0]);
        refused("Gather", &op("Gather", 13), &[x(), row(&[index])]);
        refused("GatherElements", &op("GatherElements", 13), &[x(), three.clone()]);
        let scattered = [x(), three, counted(&[1, 3])];
        refused("ScatterElements", &op("ScatterElements", 16), &scattered);
        let pair = t(&[1, 2], &[index, 0]);
        refused("GatherND", &op("GatherND", 12), &[x(), pair.clone()]);
        refused("ScatterND", &op("ScatterND", 16), &[x(), pair, counted(&[1])]);
        let picked = || Op::ml("ArrayFeatureExtractor", 1);
        refused(
            "ArrayFeatureExtractor",
            &picked,
            &[x(), row(&[if index == 2 { 3 } else { index }])],
        );
    }
    let deep = t(&[1, 3], &[0i64; 3]);
    refused("more indices than axes", &op("GatherND", 12), &[x(), deep.clone()]);
    refused("more indices than axes", &op("ScatterND", 16), &[x(), deep, counted(&[1])]);
    for batch in [-1, 2, HUGE, MIN] {
        let op = || Op::onnx("GatherND", 12).int("batch_dims", batch);
        refused(&format!("{batch} batch axes"), &op, &[x(), t(&[1, 1], &[0i64])]);
    }
    let short = [x(), t(&[1, 3], &[0i64; 3]), counted(&[1, 2])];
    refused("fewer updates than indices", &op("ScatterElements", 16), &short);
}

#[test]
fn integers_wrap_and_divide_by_no_zero() {
    let op = |name: &'static str, version| move || Op::onnx(name, version);
    macro_rules! signed {
        ($($t:ty),*) => {$({
            let [least, minus_one, zero]: [$t; 3] = [<$t>::MIN, -1, 0];
            let [least, minus_one, zero] = [least, minus_one, zero].map(|x| row(&[x]));
            refused("Div", &op("Div", 14), &[least.clone(), zero.clone()]);
            refused("Mod", &op("Mod", 13), &[least.clone(), zero.clone()]);
            answers("Div", &op("Div", 14), &[least.clone(), minus_one.clone()], &least);
            answers("Mod", &op("Mod", 13), &[least.clone(), minus_one.clone()], &zero);
            let c = || Op::onnx("Mod", 13).int("fmod", 1);
            answers("Mod of C", &c, &[least.clone(), minus_one.clone()], &zero);
            answers("Mul", &op("Mul", 14), &[least.clone(), minus_one.clone()], &least);
            answers("Abs", &op("Abs", 13), from_ref(&least), &least);
            answers("Neg", &op("Neg", 13), from_ref(&least), &least);
        })*};
    }
    signed!(i8, i16, i32, i64);
    macro_rules! unsigned {
        ($($t:ty: $bits:literal),*) => {$({
            let far: [$t; 3] = [$bits, $bits + 1, <$t>::MAX];
            let [most, zero]: [$t; 2] = [<$t>::MAX, 0];
            let [most, zero] = [most, zero].map(|x| row(&[x]));
            refused("Div", &op("Div", 14), &[most.clone(), zero.clone()]);
            refused("Mod", &op("Mod", 13), &[most.clone(), zero.clone()]);
            for direction in ["LEFT", "RIGHT"] {
                let shift = || Op::onnx("BitShift", 11).string("direction", direction);
                for by in far {
                    answers("BitShift", &shift, &[most.clone(), row(&[by])], &zero);
                }
            }
        })*};
    }
    unsigned!(u8: 8, u16: 16, u32: 32, u64: 64);
    let up = || Op::onnx("BitShift", 11).string("direction", "UP");
    refused("BitShift up", &up, &[row(&[1u8]), row(&[1u8])]);
    let power = op("Pow", 15);
    answers("a reciprocal", &power, &[row(&[2i64, 0]), row(&[-1i64, -1])], &row(&[0i64, 0]));
    let nan = Op::onnx("Mod", 13).int("fmod", 1).run1(&[row(&[1f32]), row(&[0f32])]);
    assert!(nan.as_slice::<f32>().unwrap()[0].is_nan());
}

#[test]
fn numbers_that_a_type_has_not_are_cut_to_its_range() {
    let x = || row(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, -1.0]);
    let cast = |to: i64| move || Op::onnx("Cast", 13).int("to", to);
    let wide = [0, i32::MAX, i32::MIN, i32::MAX, i32::MIN, -1];
    answers("to int32", &cast(6), &[x()], &row(&wide));
    answers("to int64", &cast(7), &[x()], &row(&[0, MAX, MIN, MAX, MIN, -1]));
    answers("to uint8", &cast(2), &[x()], &row(&[0u8, 255, 0, 255, 0, 0]));
    answers("to int8", &cast(3), &[x()], &row(&[0i8, 127, -128, 127, -128, -1]));
    answers("to uint64", &cast(13), &[x()], &row(&[0, u64::MAX, 0, u64::MAX, 0, 0]));
    answers("to bool", &cast(9), &[x()], &row(&[true; 6]));
    let with_nan = [row(&[1f32, f32::NAN, 2.0])];
    answers("NaN is never the largest", &|| Op::onnx("ArgMax", 13), &with_nan, &row(&[2i64]));
    for to in [0, -1, 999, MIN, MAX] {
        refused(&format!("to {to}"), &cast(to), &[x()]);
    }
    // A scale of 0 or NaN divides, and the quotient is cut to the range.
    let quantized = || Op::onnx("QuantizeLinear", 13);
    let by = |scale: f32| [row(&[0f32, 1.0, -1.0]), scalar(scale), scalar(0u8)];
    answers("a scale of 0", &quantized, &by(0.0), &row(&[0u8, 255, 0]));
    answers("a scale of NaN", &quantized, &by(f32::NAN), &row(&[0u8, 0, 0]));
    for block in [-1, MIN] {
        let op = || Op::onnx("QuantizeLinear", 21).int("block_size", block);
        refused("a negative block", &op, &[counted(&[2, 3]), counted(&[2, 3])]);
    }
}

#[test]
fn empty_tensors_are_reshaped_as_the_specification_says() {
    let nothing = || t::<f32>(&[0, 3], &[]);
    let reshape = || Op::onnx("Reshape", 14);
    for (shape, dims) in [(&[-1i64][..], &[0usize][..]), (&[0, -1], &[0, 3]), (&[-1, 0], &[0, 3])] {
        answers("nothing", &reshape, &[nothing(), row(shape)], &t::<f32>(dims, &[]));
    }
    let literal = || Op::onnx("Reshape", 14).int("allowzero", 1);
    refused("0 beside -1", &literal, &[nothing(), row(&[0i64, -1])]);
    let x = || counted(&[2, 3]);
    for shape in [&[-1i64, -1][..], &[MIN], &[4, -1], &[1, 1, 0], &[7]] {
        refused(&format!("{shape:?}"), &reshape, &[x(), row(shape)]);
    }
    too_large("2^62 by 4", &reshape, &[x(), row(&[HUGE, 4])]);
}
