//! Every element type through the operators that move elements as those of a carrier: what they do
//! with whole numbers, which their own tests say, they must do with all.

use super::testing::{Op, t};
use crate::attribute::Attribute;
use crate::tensor::{Complex, ElementType, Tensor, Value};

/// Zeros and ones of a type; complex numbers have them in both parts.
fn of(dtype: ElementType, dims: &[usize], bits: &[i64]) -> Tensor {
    match dtype {
        ElementType::C64 => {
            let of = |&v: &i64| Complex { re: v as f32, im: 1.0 - v as f32 };
            Tensor::from_vec(dims, bits.iter().map(of).collect()).unwrap()
        }
        ElementType::C128 => {
            let of = |&v: &i64| Complex { re: v as f64, im: 1.0 - v as f64 };
            Tensor::from_vec(dims, bits.iter().map(of).collect()).unwrap()
        }
        _ => Op::onnx("Cast", 24).int("to", dtype.onnx_number().into()).run1(&[t(dims, bits)]),
    }
}

type Make<'a> = &'a dyn Fn(&[usize], &[i64]) -> Tensor;

/// Compares the results of `run` for the types that `takes` chooses with those for `int64`.
fn check(name: &str, takes: impl Fn(ElementType) -> bool, run: impl Fn(Make<'_>) -> Vec<Tensor>) {
    let plain = run(&|dims, bits| t(dims, bits));
    assert!(!plain.is_empty());
    for dtype in ElementType::ALL.into_iter().filter(|&t| takes(t)) {
        let make = |dims: &[usize], bits: &[i64]| of(dtype, dims, bits);
        for (got, plain) in run(&make).iter().zip(&plain) {
            let bits = plain.to_i64_vec().unwrap();
            assert!(bits.contains(&0) && bits.contains(&1), "{name}: {bits:?} tell nothing");
            assert_eq!(*got, make(plain.dims(), &bits), "{name} of {dtype}");
        }
    }
}

fn any(_: ElementType) -> bool {
    true
}

const BITS: [i64; 6] = [1, 0, 0, 1, 1, 0];

#[test]
fn places_of_every_type() {
    check("Transpose", any, |make| vec![Op::onnx("Transpose", 25).run1(&[make(&[2, 3], &BITS)])]);
    check("Expand", any, |make| {
        vec![Op::onnx("Expand", 13).run1(&[make(&[2, 1], &[1, 0]), t(&[2], &[2i64, 3])])]
    });
    check("Tile", any, |make| {
        vec![Op::onnx("Tile", 13).run1(&[make(&[2, 3], &BITS), t(&[2], &[2i64, 1])])]
    });
    check("Slice", any, |make| {
        let (from, to) = (t(&[1], &[-1i64]), t(&[1], &[i64::MIN]));
        let (axes, steps) = (t(&[1], &[1i64]), t(&[1], &[-2i64]));
        vec![Op::onnx("Slice", 13).run1(&[make(&[2, 3], &BITS), from, to, axes, steps])]
    });
    check("ReverseSequence", any, |make| {
        let lens = t(&[3], &[1i64, 2, 2]);
        vec![Op::onnx("ReverseSequence", 10).run1(&[make(&[2, 3], &BITS), lens])]
    });
    check("Pad", any, |make| {
        let inputs = [make(&[2, 3], &BITS), t(&[4], &[1i64, 0, 0, 2]), make(&[], &[1])];
        vec![Op::onnx("Pad", 24).run1(&inputs)]
    });
    check("rows", any, |make| {
        let x = make(&[3, 2], &BITS);
        let parts = [x.rows(1..3).unwrap(), x.rows(0..1).unwrap()];
        vec![parts[0].clone(), Tensor::concat_rows(&parts).unwrap()]
    });
}

#[test]
fn choices_of_every_type() {
    check("Where", any, |make| {
        let c = t(&[2, 1], &[true, false]);
        let op = Op::onnx("Where", 16);
        let (x, y) = (make(&[2, 3], &BITS), make(&[2, 3], &[0, 1, 0, 0, 1, 1]));
        let all = t(&[2, 3], &[true, false, false, true, false, true]);
        let spread = op.run1(&[c, x.clone(), make(&[3], &[0, 1, 0])]);
        vec![op.run1(&[all, x, y]), spread]
    });
    check("Gather", any, |make| {
        let at = t(&[2], &[2i64, 0]);
        let op = |axis| Op::onnx("Gather", 13).int("axis", axis);
        let x = make(&[2, 3], &BITS);
        vec![op(1).run1(&[x.clone(), at]), op(0).run1(&[x, t(&[1], &[-1i64])])]
    });
    check("GatherElements", any, |make| {
        let at = t(&[2, 2], &[1i64, 0, 0, 1]);
        let op = Op::onnx("GatherElements", 13).int("axis", 1);
        vec![op.run1(&[make(&[2, 3], &BITS), at])]
    });
    check("GatherND", any, |make| {
        let at = t(&[2, 1], &[1i64, 0]);
        vec![Op::onnx("GatherND", 13).run1(&[make(&[2, 3], &BITS), at])]
    });
    check("Compress", any, |make| {
        let c = t(&[3], &[true, false, true]);
        vec![Op::onnx("Compress", 11).int("axis", 1).run1(&[make(&[2, 3], &BITS), c])]
    });
    check("Concat", any, |make| {
        let (x, y) = (make(&[2, 3], &BITS), make(&[2, 1], &[0, 1]));
        vec![Op::onnx("Concat", 13).int("axis", 1).run1(&[x, y])]
    });
    check("Split", any, |make| {
        let op = Op::onnx("Split", 13).int("axis", 1).outputs(2);
        op.run(&[make(&[2, 3], &[1, 0, 0, 0, 1, 1]), t(&[2], &[2i64, 1])]).unwrap()
    });
    check("ArrayFeatureExtractor", any, |make| {
        let at = t(&[1, 2], &[2i64, 0]);
        vec![Op::ml("ArrayFeatureExtractor", 1).run1(&[make(&[2, 3], &BITS), at])]
    });
}

#[test]
fn values_of_every_type() {
    check("OneHot", any, |make| {
        let inputs = [t(&[2], &[1i64, 0]), Tensor::scalar(2i64), make(&[2], &[0, 1])];
        vec![Op::onnx("OneHot", 11).run1(&inputs)]
    });
    check("ConstantOfShape", any, |make| {
        let fill = |bit| {
            let value = Attribute::Tensor(make(&[1], &[bit]));
            Op::onnx("ConstantOfShape", 25).attr("value", value).run1(&[t(&[1], &[2i64])])
        };
        vec![Tensor::concat_rows(&[fill(1), fill(0)]).unwrap()]
    });
    check("LabelEncoder", any, |make| {
        let op = Op::ml("LabelEncoder", 4)
            .ints("keys_int64s", &[5, 6])
            .attr("values_tensor", Attribute::Tensor(make(&[2], &[0, 1])))
            .attr("default_tensor", Attribute::Tensor(make(&[1], &[1])));
        vec![op.run1(&[t(&[3], &[6i64, 5, 7])])]
    });
    check("GridSample", any, |make| {
        let op = Op::onnx("GridSample", 20).string("mode", "nearest");
        let grid = t(&[1, 1, 3, 2], &[0.5f32, 0.5, -0.5, -0.5, 0.5, -0.5]);
        vec![op.run1(&[make(&[1, 1, 2, 3], &BITS), grid])]
    });
    let computed = |t: ElementType| {
        t.is_float() || t.is_integer() || matches!(t, ElementType::Bool | ElementType::String)
    };
    check("Resize", computed, |make| {
        let op = Op::onnx("Resize", 19).string("mode", "nearest");
        let sizes = t(&[4], &[1i64, 1, 4, 4]);
        let inputs = [Some(make(&[1, 1, 2, 3], &BITS).into()), None, None, Some(sizes.into())];
        op.run_values(&inputs).unwrap().into_iter().map(|v| v.into_tensor().unwrap()).collect()
    });
}

#[test]
fn entries_of_every_type() {
    use crate::tensor::{Map, MapKey};
    check("DictVectorizer", any, |make| {
        let entry = |key, bit| (MapKey::Int(key), Value::Tensor(make(&[], &[bit])));
        let map = Map { entries: vec![entry(7, 1), entry(9, 0), entry(8, 1)] };
        let op = Op::ml("DictVectorizer", 1).ints("int64_vocabulary", &[8, 9, 7]);
        let answer = op.run_values(&[Some(Value::Map(map))]).unwrap().remove(0);
        vec![answer.into_tensor().unwrap()]
    });
}
