use crate::kernel::testing::{Op, t};
use crate::tensor::{
    Element, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2,
    Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Tensor, UInt2, UInt4, Value,
};
use half::{bf16, f16};

/// ONNX's numbers of element types.
const INT16: i64 = 5;
const FLOAT: i64 = 1;
const FLOAT16: i64 = 10;

fn quantise() -> Op {
    Op::onnx("QuantizeLinear", 25)
}

fn dequantise() -> Op {
    Op::onnx("DequantizeLinear", 25)
}

fn floats<T: Element>(dims: &[usize], values: &[f32], of: impl Fn(f32) -> T) -> Tensor {
    t(dims, &values.iter().map(|&v| of(v)).collect::<Vec<T>>())
}

#[test]
fn levels_of_one_scale_round_half_to_even_and_saturate() {
    let x = t(&[6], &[0f32, 2.0, 3.0, 1000.0, -254.0, -1000.0]);
    let out = quantise().run1(&[x.clone(), t(&[], &[2f32]), t(&[], &[128u8])]);
    assert_eq!(out, t(&[6], &[128u8, 129, 130, 255, 1, 0]));
    // The first version knew uint8 and int8, one scale, and no axis.
    let out = Op::onnx("QuantizeLinear", 10).run1(&[x.clone(), t(&[], &[2f32]), t(&[], &[-1i8])]);
    assert_eq!(out, t(&[6], &[-1i8, 0, 1, 127, -128, -128]));
    // Without a zero point the type is uint8.
    assert_eq!(quantise().run1(&[x, t(&[1], &[2f32])]), t(&[6], &[0u8, 1, 2, 255, 0, 0]));
    let ints = quantise().run1(&[t(&[3], &[5i32, 15, -15]), t(&[], &[10f32]), t(&[], &[0i8])]);
    assert_eq!(ints, t(&[3], &[0i8, 2, -2]));
    let x = t(&[2], &[f32::NAN, f32::NEG_INFINITY]);
    assert_eq!(quantise().run1(&[x, t(&[], &[1f32]), t(&[], &[3i8])]), t(&[2], &[-128i8; 2]));
}

#[test]
fn sixteen_bits_are_quantised() {
    let x = t(&[8], &[0f32, -128.0, 3.0, -3.0, 2.9, 65536.0, 70000.0, -70000.0]);
    let out = quantise().run1(&[x, t(&[], &[2f32]), t(&[], &[32767u16])]);
    assert_eq!(out, t(&[8], &[32767u16, 32703, 32769, 32765, 32768, 65535, 65535, 0]));
    let x = t(&[5], &[0f32, -514.0, 65022.0, 65024.0, -66048.0]);
    let out = quantise().run1(&[x, t(&[], &[2f32]), t(&[], &[256i16])]);
    assert_eq!(out, t(&[5], &[256i16, -1, 32767, 32767, -32768]));
}

#[test]
fn scales_of_an_axis_and_of_blocks() {
    let x = t(&[1, 2, 2], &[-162f32, 10.0, -76.0, 252.0]);
    let scales = [t(&[2], &[2f32, 4.0]), t(&[2], &[84u8, 24])];
    let inputs = [x, scales[0].clone(), scales[1].clone()];
    assert_eq!(quantise().run1(&inputs), t(&[1, 2, 2], &[3u8, 89, 5, 87]));
    assert!(quantise().int("axis", 0).run(&inputs).is_err());

    let x = t(&[3, 4], &[6f32, 12.0, 50.0, 5.0, 1.0, 8.0, 4.0, 5.0, 0.0, 20.0, 10.0, 4.0]);
    let scale = t(&[3, 2], &[1.5f32, 2.5, 3.0, 4.9, 5.1, 6.9]);
    let zero = t(&[3, 2], &[0u8, 1, 1, 0, 2, 3]);
    let blocked = quantise().int("axis", 1).int("block_size", 2);
    let out = blocked.run1(&[x.clone(), scale.clone(), zero]);
    assert_eq!(out, t(&[3, 4], &[4u8, 8, 21, 3, 1, 4, 1, 1, 2, 6, 4, 4]));
    let symmetric = quantise().int("axis", 1).int("block_size", 2).int("output_dtype", INT16);
    let out = symmetric.run1(&[x.clone(), scale.clone()]);
    assert_eq!(out, t(&[3, 4], &[4i16, 8, 20, 2, 0, 3, 1, 1, 0, 4, 1, 1]));
    // The attribute and the zero point must agree.
    assert!(symmetric.run(&[x, scale.clone(), t(&[3, 2], &[0u8; 6])]).is_err());

    let x = t(&[1, 3, 2], &[3u8, 89, 34, 200, 5, 24]);
    let inputs = [x, t(&[1, 2, 2], &[3f32, 2.0, 5.0, 2.0]), t(&[1, 2, 2], &[1u8, 0, 3, 2])];
    let out = dequantise().int("axis", 1).int("block_size", 2).run1(&inputs);
    assert_eq!(out, t(&[1, 3, 2], &[6f32, 178.0, 99.0, 400.0, 10.0, 44.0]));
}

#[test]
fn levels_of_four_and_two_bits() {
    let scale = t(&[3], &[2f32, 3.0, 4.0]);
    let x = t(&[3, 4], &[0f32, 2.5, 4.8, 8.6, -30.0, -20.0, 6.0, 9.0, 12.0, 15.0, 16.0, 40.0]);
    let axis = || quantise().int("axis", 0);
    let u4 = |v: &[i64]| v.iter().map(|&v| UInt4::saturating(v)).collect::<Vec<_>>();
    let i4 = |v: &[i64]| v.iter().map(|&v| Int4::saturating(v)).collect::<Vec<_>>();
    let u2 = |v: &[i64]| v.iter().map(|&v| UInt2::saturating(v)).collect::<Vec<_>>();
    let i2 = |v: &[i64]| v.iter().map(|&v| Int2::saturating(v)).collect::<Vec<_>>();
    let out = axis().run1(&[x.clone(), scale.clone(), t(&[3], &u4(&[1; 3]))]);
    assert_eq!(out, t(&[3, 4], &u4(&[1, 2, 3, 5, 0, 0, 3, 4, 4, 5, 5, 11])));
    let out = axis().run1(&[x, scale.clone(), t(&[3], &i4(&[1; 3]))]);
    assert_eq!(out, t(&[3, 4], &i4(&[1, 2, 3, 5, -8, -6, 3, 4, 4, 5, 5, 7])));
    let x = t(&[3, 4], &[0f32, 2.5, 4.8, 8.6, -2.0, -1.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let out = axis().run1(&[x, scale.clone(), t(&[3], &u2(&[0; 3]))]);
    assert_eq!(out, t(&[3, 4], &u2(&[0, 1, 2, 3, 0, 0, 0, 1, 1, 1, 2, 2])));
    let x = t(&[3, 4], &[0f32, 2.5, 4.8, 8.6, -4.0, -3.0, 1.0, 2.0, 0.0, -2.5, -4.8, -8.6]);
    let out = axis().run1(&[x, scale, t(&[3], &i2(&[0; 3]))]);
    assert_eq!(out, t(&[3, 4], &i2(&[0, 1, 1, 1, -1, -1, 0, 1, 0, -1, -1, -2])));

    let two = t(&[], &[2f32]);
    let back = |x: Tensor, zero: Tensor| dequantise().int("axis", 0).run1(&[x, two.clone(), zero]);
    let out = back(t(&[5], &u4(&[0, 1, 7, 10, 15])), t(&[1], &u4(&[1])));
    assert_eq!(out, t(&[5], &[-2f32, 0.0, 12.0, 18.0, 28.0]));
    let out = back(t(&[5], &i4(&[0, 1, 7, -4, -8])), t(&[1], &i4(&[1])));
    assert_eq!(out, t(&[5], &[-2f32, 0.0, 12.0, -10.0, -18.0]));
    let out = back(t(&[4], &u2(&[0, 1, 2, 3])), t(&[1], &u2(&[1])));
    assert_eq!(out, t(&[4], &[-2f32, 0.0, 2.0, 4.0]));
    let out = back(t(&[4], &i2(&[0, 1, -1, -2])), t(&[1], &i2(&[1])));
    assert_eq!(out, t(&[4], &[-2f32, 0.0, -4.0, -6.0]));
}

#[test]
fn levels_of_small_floats() {
    let x = t(&[5], &[0f32, 1.0, 2.0, 100_000.0, 200.0]);
    let two = t(&[], &[2f32]);
    let e4m3 = |v: f32| Float8E4M3FN::from_f32(v, true);
    let e5m2 = |v: f32| Float8E5M2::from_f32(v, true);
    let out = quantise().run1(&[x.clone(), two.clone(), floats(&[1], &[0.0], e4m3)]);
    assert_eq!(out, floats(&[5], &[0.0, 0.5, 1.0, 448.0, 96.0], e4m3));
    let out = quantise().run1(&[x.clone(), two.clone(), floats(&[1], &[0.0], e5m2)]);
    assert_eq!(out, floats(&[5], &[0.0, 0.5, 1.0, 49152.0, 96.0], e5m2));
    // Without saturation what is too large becomes infinite, or NaN where there is no infinity.
    let wild = quantise().int("saturate", 0);
    let x = t(&[1], &[1e9f32]);
    let out = wild.run1(&[x.clone(), two.clone(), floats(&[], &[0.0], e5m2)]);
    assert_eq!(out.as_slice::<Float8E5M2>().unwrap()[0].to_f32(), f32::INFINITY);
    let out = wild.run1(&[x.clone(), two.clone(), floats(&[], &[0.0], e4m3)]);
    assert!(out.as_slice::<Float8E4M3FN>().unwrap()[0].to_f32().is_nan());
    let uz = |v: f32| Float8E4M3FNUZ::from_f32(v, true);
    let out = quantise().run1(&[x.clone(), two.clone(), floats(&[], &[0.0], uz)]);
    assert_eq!(out.as_slice::<Float8E4M3FNUZ>().unwrap()[0].to_f32(), 240.0);
    let uz = |v: f32| Float8E5M2FNUZ::from_f32(v, true);
    let out = quantise().run1(&[x, two.clone(), floats(&[], &[0.0], uz)]);
    assert_eq!(out.as_slice::<Float8E5M2FNUZ>().unwrap()[0].to_f32(), 57344.0);

    let e2m1 = |v: f32| Float4E2M1::from_f32(v, true);
    let x = t(&[2, 4], &[0f32, 2.5, 4.8, 8.6, -30.0, -20.0, 6.0, 9.0]);
    let inputs = [x, t(&[2], &[2f32, 3.0]), floats(&[2], &[0.0; 2], e2m1)];
    let out = quantise().int("axis", 0).run1(&inputs);
    assert_eq!(out, floats(&[2, 4], &[0.0, 1.0, 2.0, 4.0, -6.0, -6.0, 2.0, 3.0], e2m1));
    let out = dequantise().run1(&[floats(&[4], &[0.0, -1.0, 1.5, -4.0], e2m1), two.clone()]);
    assert_eq!(out, t(&[4], &[0f32, -2.0, 3.0, -8.0]));
    let x = floats(&[3], &[0.5, 448.0, -104.0], e4m3);
    let out = dequantise().run1(&[x.clone(), two, floats(&[1], &[0.0], e4m3)]);
    assert_eq!(out, t(&[3], &[1f32, 896.0, -208.0]));
    let half = dequantise().run1(&[x, t(&[], &[f16::from_f32(2.0)])]);
    assert_eq!(half, floats(&[3], &[1.0, 896.0, -208.0], f16::from_f32));
}

#[test]
fn the_scale_or_an_attribute_sets_the_precision() {
    let half = |v: f32| f16::from_f32(v);
    let x = floats(&[2], &[2051.0, 10.0], half); // 2051 is 2052 in half precision
    let out = quantise().run1(&[x, floats(&[], &[4.0], half), t(&[], &[0u16])]);
    assert_eq!(out, t(&[2], &[513u16, 2])); // 10 / 4 = 2.5
    // With eight bits 1001.5 is 1000.
    let (x, two, zero) = (t(&[1], &[1001.5f32]), t(&[], &[2f32]), t(&[], &[0i16]));
    assert_eq!(quantise().run1(&[x.clone(), two.clone(), zero.clone()]), t(&[1], &[501i16]));
    let brain = quantise().int("precision", 16);
    assert_eq!(brain.run1(&[x.clone(), two.clone(), zero.clone()]), t(&[1], &[500i16]));
    let scale = t(&[], &[bf16::from_f32(2.0)]);
    assert_eq!(quantise().run1(&[x.clone(), scale, zero.clone()]), t(&[1], &[500i16]));
    let power = Float8E8M0::from_f32(8.0, true);
    assert_eq!(quantise().run1(&[x.clone(), t(&[], &[power]), zero.clone()]), t(&[1], &[125i16]));
    assert!(quantise().int("precision", INT16).run(&[x, two, zero]).is_err());
}

#[test]
fn levels_become_numbers() {
    let x = t(&[4], &[0u8, 3, 128, 255]);
    let out = dequantise().run1(&[x, t(&[], &[2f32]), t(&[], &[128u8])]);
    assert_eq!(out, t(&[4], &[-256f32, -250.0, 0.0, 254.0]));
    let x = t(&[1, 2, 2], &[3u8, 89, 5, 24]);
    let out = dequantise().run1(&[x, t(&[2], &[2f32, 4.0]), t(&[2], &[84u8, 24])]);
    assert_eq!(out, t(&[1, 2, 2], &[-162f32, 10.0, -76.0, 0.0]));
    let x = t(&[2], &[30000u16, 33000]);
    let out = dequantise().run1(&[x, t(&[], &[2f32]), t(&[], &[32767u16])]);
    assert_eq!(out, t(&[2], &[-5534f32, 466.0]));
    let x = t(&[2], &[-300i16, 1270]);
    let out = dequantise().run1(&[x, t(&[], &[2f32]), t(&[], &[-1024i16])]);
    assert_eq!(out, t(&[2], &[1448f32, 4588.0]));
    let out = Op::onnx("DequantizeLinear", 10).run1(&[t(&[2], &[-7i32, 1000]), t(&[], &[0.5f32])]);
    assert_eq!(out, t(&[2], &[-3.5f32, 500.0]));
    // The output's type is the scale's, or that of the attribute.
    let inputs = [t(&[1], &[3i8]), t(&[], &[bf16::from_f32(0.5)])];
    assert_eq!(dequantise().run1(&inputs), t(&[1], &[bf16::from_f32(1.5)]));
    let op = dequantise().int("output_dtype", FLOAT);
    assert_eq!(op.run1(&inputs), t(&[1], &[1.5f32]));
    let op = Op::new("com.microsoft", "DequantizeLinear", 1);
    assert_eq!(op.run1(&[t(&[1], &[3i8]), t(&[], &[0.5f32]), t(&[], &[1i8])]), t(&[1], &[1f32]));
    assert!(dequantise().run(&[t(&[1], &[3i8]), t(&[], &[0.5f32]), t(&[], &[1u8])]).is_err());
    let half = dequantise().int("output_dtype", FLOAT16);
    let power = Float8E8M0::from_f32(0.5, true);
    assert_eq!(half.run1(&[t(&[1], &[3i8]), t(&[], &[power])]), t(&[1], &[f16::from_f32(1.5)]));
}

#[test]
fn dynamic_scales_cover_the_range_and_zero() {
    let op = Op::onnx("DynamicQuantizeLinear", 11).outputs(3);
    let run = |x: &[f32]| -> (Vec<u8>, f32, u8) {
        let out = op.run_values(&[Some(Value::Tensor(t(&[x.len()], x)))]).unwrap();
        let out: Vec<Tensor> = out.into_iter().map(|v| v.into_tensor().unwrap()).collect();
        assert_eq!((out[1].dims().len(), out[2].dims().len()), (0, 0));
        (
            out[0].as_slice().unwrap().to_vec(),
            out[1].as_slice().unwrap()[0],
            out[2].as_slice().unwrap()[0],
        )
    };
    let (levels, scale, zero) = run(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
    assert_eq!((levels, zero), (vec![153, 255, 0, 26, 221, 179], 153));
    assert!((scale - 0.019_607_844).abs() < 1e-8);
    let (_, scale, zero) = run(&[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0]);
    assert_eq!((scale, zero), (4.0 / 255.0, 255));
    let (levels, _, zero) = run(&[1.0, 2.1, 4.0]);
    assert_eq!((levels, zero), (vec![64, 134, 255], 0));
    assert_eq!(run(&[0.0; 2]), (vec![0; 2], 1.0 / 255.0, 0));
}

#[test]
fn floats_of_six_bits() {
    // Steps of an eighth below 2, of a quarter up to 4, of a half up to 7.5; halves go to even.
    let x = t(&[5], &[0.25f32, 2.25, 6.5, -40.0, 0.125]);
    let q = Op::onnx("QuantizeLinear", 28);
    let to = |zero: Tensor| q.run1(&[x.clone(), t(&[], &[2f32]), zero]);
    let narrow = floats(&[5], &[0.125, 1.125, 3.25, -7.5, 0.0], |v| Float6E2M3::from_f32(v, true));
    assert_eq!(to(t(&[], &[Float6E2M3::default()])), narrow);
    // Quarters between 1 and 2, halves up to 4; 0.0625 is the smallest number.
    let wide = floats(&[5], &[0.125, 1.0, 3.0, -20.0, 0.0625], |v| Float6E3M2::from_f32(v, true));
    assert_eq!(to(t(&[], &[Float6E3M2::default()])), wide);
    let d = Op::onnx("DequantizeLinear", 28);
    let back = d.run1(&[narrow, t(&[], &[2f32])]);
    assert_eq!(back, t(&[5], &[0.25f32, 2.25, 6.5, -15.0, 0.0]));
    let back = d.run1(&[wide, t(&[], &[2f32])]);
    assert_eq!(back, t(&[5], &[0.25f32, 2.0, 6.0, -40.0, 0.125]));
}
