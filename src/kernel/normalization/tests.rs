//! Expected values are ONNX Runtime's for the same inputs, or worked out by hand.

use crate::attribute::Attributes;
use crate::kernel::elementwise::tests::{assert_rows_match, rows};
use crate::kernel::testing::{Op, assert_close, t};
use crate::tensor::{Tensor, Value};
use half::f16;

/// `((7i) mod 11) − 4`
fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    t(dims, &(0..n).map(|i| (i * 7 % 11) as f32 - 4.0).collect::<Vec<_>>())
}

fn v(data: &[f32]) -> Tensor {
    t(&[data.len()], data)
}

#[test]
fn batch_normalization_scales_channels() {
    let inputs =
        [counting(&[1, 2, 2]), v(&[1.0, 2.0]), v(&[0.5, -1.0]), v(&[1.0, 2.0]), v(&[4.0, 0.25])];
    let expected = t(&[1, 2, 2], &[-1.999_997f32, 1.499_998_8, -12.999_76, 14.999_68]);
    assert_close(&Op::onnx("BatchNormalization", 15).run1(&inputs), &expected);
    let constant = Op::onnx("BatchNormalization", 9).constant(&[1, 2, 3, 4]);
    assert_close(&constant.run1(&inputs), &expected);
    let wide = inputs.clone().map(|x| t(x.dims(), &x.to_f64_vec().unwrap()));
    assert_close(&Op::onnx("BatchNormalization", 15).run1(&wide), &expected);
    let mut wrong = inputs;
    wrong[3] = v(&[1.0]);
    assert!(Op::onnx("BatchNormalization", 15).run(&wrong).is_err());
    assert!(constant.run(&wrong).is_err());
}

#[test]
fn batch_normalization_in_training_answers_its_statistics() {
    let x = t(&[2, 2, 2], &[1f32, 3.0, 0.0, 0.0, 5.0, 7.0, 2.0, 2.0]);
    let inputs = [x, v(&[2.0, 1.0]), v(&[0.0, 1.0]), v(&[1.0, 2.0]), v(&[10.0, 20.0])];
    // Channel 0 has mean 4 and variance 5, channel 1 both 1.
    let a = 1.0 / 5f32.sqrt();
    let y = [-6.0 * a, -2.0 * a, 0.0, 0.0, 2.0 * a, 6.0 * a, 2.0, 2.0];
    let y = t(&[2, 2, 2], &y);
    let running = [v(&[2.5, 1.5]), v(&[7.5, 10.5])];
    let op = Op::onnx("BatchNormalization", 15).float("momentum", 0.5).float("epsilon", 0.0);
    let got = op.int("training_mode", 1).outputs(3).run(&inputs).unwrap();
    assert_eq!(got.len(), 3);
    for (got, expected) in got.iter().zip([&y, &running[0], &running[1]]) {
        assert_close(got, expected);
    }
    let op = Op::onnx("BatchNormalization", 9).float("momentum", 0.5).float("epsilon", 0.0);
    let got = op.outputs(5).run(&inputs).unwrap();
    let saved = [v(&[4.0, 1.0]), v(&[5.0, 1.0])];
    for (got, expected) in got.iter().zip([&y, &running[0], &running[1], &saved[0], &saved[1]]) {
        assert_close(got, expected);
    }
    assert_eq!(got.len(), 5);
}

#[test]
fn batch_normalization_of_each_activation() {
    let p = |a: f32, b: f32| t(&[1, 2], &[a, b]);
    let x = t(&[2, 1, 2], &[1f32, 2.0, 3.0, 4.0]);
    let inputs = [x, p(1.0, 2.0), p(0.0, 1.0), p(1.0, 2.0), p(4.0, 1.0)];
    for constant in [&[][..], &[1, 2, 3, 4]] {
        let op = Op::onnx("BatchNormalization", 7).int("spatial", 0).float("epsilon", 0.0);
        let y = op.constant(constant).run1(&inputs);
        assert_close(&y, &t(&[2, 1, 2], &[0f32, 1.0, 1.0, 5.0]));
    }
}

#[test]
fn batch_normalization_of_rows_gives_the_same_bits() {
    let p = |k: f32| (t(&[19], &(0..19).map(|i| i as f32 / k + 0.1).collect::<Vec<_>>()), true);
    let inputs = [(rows(4, 19), false), p(3.0), p(5.0), p(7.0), p(9.0)];
    assert_rows_match("BatchNormalization", 15, &Attributes::default(), &inputs);
}

#[test]
fn layer_normalization_with_its_statistics() {
    let inputs = [counting(&[2, 3]), v(&[1.0, 2.0, 3.0]), v(&[0.0, 1.0, -1.0])];
    let out = Op::onnx("LayerNormalization", 17).outputs(3).run(&inputs).unwrap();
    let y = [-1.162_475_7f32, 3.557_446_7, -1.348_742_7, 1.224_744_3, 1.0, -4.674_233];
    assert_close(&out[0], &t(&[2, 3], &y));
    assert_close(&out[1], &t(&[2, 1], &[-0.666_666_7f32, 2.0]));
    assert_close(&out[2], &t(&[2, 1], &[0.348_742_72f32, 0.306_186_08]));
    let two = [counting(&[1, 2, 2]), t(&[2, 2], &[1f32, 2.0, 3.0, 4.0])];
    let out = Op::onnx("LayerNormalization", 17).int("axis", 1).run1(&two);
    let y = [-1.313_063_9f32, 1.050_451_2, -1.575_676_7, 5.252_255_4];
    assert_close(&out, &t(&[1, 2, 2], &y));
    // A large offset must not drown the variance.
    let far = t(&[1, 4], &[10_001f32, 10_002.0, 10_003.0, 10_004.0]);
    let out = Op::onnx("LayerNormalization", 17).run1(&[far, v(&[1.0; 4])]);
    assert_close(&out, &t(&[1, 4], &[-1.341_635_4f32, -0.447_211_8, 0.447_211_8, 1.341_635_4]));
    let empty = Op::onnx("LayerNormalization", 17).run1(&[t::<f32>(&[0, 4], &[]), v(&[1.0; 4])]);
    assert_eq!(empty.dims(), [0, 4]);
    assert!(Op::onnx("LayerNormalization", 17).run(&[counting(&[2, 3]), v(&[1.0; 2])]).is_err());
}

#[test]
fn rms_and_skip_normalization() {
    let out = Op::onnx("RMSNormalization", 23).run1(&[counting(&[2, 3]), v(&[1.0, 2.0, 3.0])]);
    let y = [-1.358_731_6f32, 2.038_097_4, -1.019_048_7, 1.566_698_3, 1.044_465_5, -1.566_698_3];
    assert_close(&out, &t(&[2, 3], &y));
    let x = counting(&[1, 2, 3]);
    let d = x.as_slice::<f32>().unwrap();
    let skip = t(&[1, 2, 3], &[&d[3..], &d[..3]].concat());
    let gamma = [v(&[1.0, 2.0, 3.0]), v(&[0.0, 1.0, -1.0]), v(&[1.0, 0.0, 1.0])];
    let [g, b, bias] = gamma;
    let op = Op::new("com.microsoft", "SkipLayerNormalization", 1);
    let out = op.run1(&[x, skip, g, b, bias]);
    let y = [0.339_683_1f32, 3.038_098_6, -5.076_197, 0.339_683_1, 3.038_098_6, -5.076_197];
    assert_close(&out, &t(&[1, 2, 3], &y));
}

#[test]
fn sums_are_normalised_by_their_root_mean_square() {
    // The sums are (3, 4) and, with the bias, (4, 3): mean squares of 12.5.
    let (x, skip) = (t(&[1, 1, 2], &[1f32, 4.0]), t(&[1, 1, 2], &[2f32, 0.0]));
    let op = || Op::new("com.microsoft", "SkipSimplifiedLayerNormalization", 1);
    let gamma = v(&[1.0, 2.0]);
    let y = op().run1(&[x.clone(), skip.clone(), gamma.clone()]);
    assert_close(&y, &t(&[1, 1, 2], &[0.848_528_1f32, 2.262_741_7]));
    let bias = v(&[1.0, -1.0]);
    let out = op().outputs(1).run(&[x.clone(), skip.clone(), gamma.clone(), bias]).unwrap();
    assert_close(&out[0], &t(&[1, 1, 2], &[1.131_370_8f32, 1.697_056_3]));
    // The sum is output 3; the statistics between are not wanted.
    let mut inputs = vec![];
    for x in [&x, &skip, &gamma] {
        inputs.push(Some(Value::Tensor(x.clone())));
    }
    let out = op().wants(&[true, false, false, true]).run_values(&inputs).unwrap();
    assert_eq!(out[3], Value::Tensor(t(&[1, 1, 2], &[3f32, 4.0])));
    // Without a sum, the inverse of the root is an output: 1/√12.5.
    let simplified = Op::onnx("SimplifiedLayerNormalization", 1).outputs(2);
    let out = simplified.float("epsilon", 0.0).run(&[t(&[1, 2], &[3f32, 4.0]), gamma]).unwrap();
    assert_close(&out[1], &t(&[1, 1], &[0.282_842_7f32]));
    let skip_layer = Op::new("com.microsoft", "SkipLayerNormalization", 1).outputs(4);
    let out = skip_layer.run(&[x, skip, v(&[1.0, 1.0])]).unwrap();
    assert_close(&out[1], &t(&[1, 1, 1], &[3.5f32]));
    assert_close(&out[2], &t(&[1, 1, 1], &[2f32]));
    assert_close(&out[3], &t(&[1, 1, 2], &[3f32, 4.0]));
}

#[test]
fn embeddings_are_added_and_normalised() {
    let ids = t(&[2, 2], &[2i32, 0, 1, 1]);
    let words = t(&[3, 2], &[0f32, 1.0, 10.0, 30.0, 5.0, 2.0]);
    let places = t(&[3, 2], &[1f32, 0.0, 0.0, 4.0, 100.0, 0.0]);
    let segments = t(&[2, 2], &[0f32, 0.0, 0.0, -7.0]);
    let (gamma, beta) = (v(&[1.0, 2.0]), v(&[0.5, 0.0]));
    let mask = t(&[2, 2], &[1i32, 1, 1, 0]);
    let op = || Op::new("com.microsoft", "EmbedLayerNormalization", 1).outputs(3);
    let run = |inputs: &[Option<&Tensor>]| {
        let inputs: Vec<_> = inputs.iter().map(|t| t.cloned().map(Value::Tensor)).collect();
        let out = op().run_values(&inputs)?.into_iter().map(Value::into_tensor);
        out.collect::<crate::error::Result<Vec<_>>>()
    };
    let segment_ids = t(&[2, 2], &[0i32, 1, 0, 0]);
    let all = [
        Some(&ids),
        Some(&segment_ids),
        Some(&words),
        Some(&places),
        Some(&segments),
        Some(&gamma),
        Some(&beta),
        Some(&mask),
    ];
    let out = run(&all).unwrap();
    // Two elements are normalised to 1 and −1.
    let sum = t(&[2, 2, 2], &[6f32, 2.0, 0.0, -2.0, 11.0, 30.0, 10.0, 34.0]);
    assert_eq!(out[2], sum);
    assert_eq!(out[1], t(&[2], &[2i32, 1]));
    let y = [1.5f32, -2.0, 1.5, -2.0, -0.5, 2.0, -0.5, 2.0];
    assert_close(&out[0], &t(&[2, 2, 2], &y));
    // Neither segments nor a mask; places of their own.
    let at = t(&[1, 2], &[2i32, 0]);
    let bare = [
        Some(&ids),
        None,
        Some(&words),
        Some(&places),
        None,
        Some(&gamma),
        Some(&beta),
        None,
        Some(&at),
    ];
    let out = run(&bare).unwrap();
    let sum = t(&[2, 2, 2], &[105f32, 2.0, 1.0, 1.0, 110.0, 30.0, 11.0, 30.0]);
    assert_eq!(out[2], sum);
    assert_eq!(out[1], t(&[2], &[0i32, 0]));
    for bad in [3, -1] {
        let ids = t(&[2, 2], &[2, 0, bad, 1]);
        let mut inputs = all;
        inputs[0] = Some(&ids);
        assert!(run(&inputs).is_err());
    }
    assert!(run(&all[..6]).is_err());
}

#[test]
fn instance_and_group_normalization() {
    let inputs = [counting(&[1, 2, 3]), v(&[1.0, 2.0]), v(&[0.0, 1.0])];
    let out = Op::onnx("InstanceNormalization", 6).run1(&inputs);
    let y = [-1.162_475_7f32, 1.278_723_4, -0.116_247_565, 3.449_488_6, 1.0, -1.449_488_6];
    assert_close(&out, &t(&[1, 2, 3], &y));
    let scale = v(&[1.0, 2.0, 3.0, 4.0]);
    let inputs = [counting(&[1, 4, 2]), scale.clone(), v(&[0.0, 1.0, 2.0, 3.0])];
    let out = Op::onnx("GroupNormalization", 21).int("num_groups", 2).run1(&inputs);
    let y = [
        -1.313_063_9f32,
        0.525_225_6,
        -0.050_451_16,
        3.626_127_7,
        2.599_999_4,
        -2.199_997,
        8.599_996,
        2.200_000_5,
    ];
    assert_close(&out, &t(&[1, 4, 2], &y));
    // Before 21 scale and bias belong to groups: group 0 here is scale 1, bias 0.
    let op = Op::onnx("GroupNormalization", 18).int("num_groups", 2);
    let out = op.run1(&[counting(&[1, 4, 2]), v(&[1.0, 1.0]), v(&[0.0, 0.0])]);
    let y = [-1.313_063_9f32, 0.525_225_6, -0.525_225_6, 1.313_063_9, 0.2, -1.4, 1.4, -0.2];
    assert_close(&out, &t(&[1, 4, 2], &y));
    assert!(op.run(&[counting(&[1, 3, 2]), v(&[1.0; 2]), v(&[0.0; 2])]).is_err());
    let mvn = Op::onnx("MeanVarianceNormalization", 13).run1(&[counting(&[1, 2, 2, 2])]);
    let y = [-1.313_064_3f32, 0.525_225_7, -0.525_225_7, 1.313_064_3, 0.2, -1.4, 1.4, -0.2];
    assert_close(&mvn, &t(&[1, 2, 2, 2], &y));
}

#[test]
fn lp_and_local_response_normalization() {
    let lp = Op::onnx("LpNormalization", 1).int("p", 1).int("axis", 1).run1(&[counting(&[2, 3])]);
    assert_close(&lp, &t(&[2, 3], &[-0.5f32, 0.375, -0.125, 0.6, 0.2, -0.2]));
    let lp = Op::onnx("LpNormalization", 1).int("axis", 0).run1(&[counting(&[2, 3])]);
    let y = [-0.554_700_2f32, 0.832_050_3, -0.447_213_6, 0.832_050_3, 0.554_700_2, -0.894_427_2];
    assert_close(&lp, &t(&[2, 3], &y));
    let lrn = Op::onnx("LRN", 13).int("size", 3).float("alpha", 0.5).float("bias", 2.0);
    let out = lrn.run1(&[counting(&[1, 4, 1, 1])]);
    assert_close(
        &out,
        &t(&[1, 4, 1, 1], &[-1.022_167_6f32, 0.751_444_64, -0.182_407_4, 1.241_988_7]),
    );
    let half = t(&[1, 2], &[f16::from_f32(3.0), f16::from_f32(4.0)]);
    let out = Op::onnx("LpNormalization", 1).run1(&[half]);
    assert_eq!(out, t(&[1, 2], &[f16::from_f32(0.6), f16::from_f32(0.8)]));
    let zeros = Op::onnx("LpNormalization", 1).run1(&[v(&[0.0, 0.0])]);
    assert_eq!(zeros, v(&[0.0, 0.0]));
}

#[test]
fn tables_of_levels() {
    let op = Op::new("com.microsoft", "QEmbedLayerNormalization", 1).outputs(2);
    let ids = t(&[1, 2], &[2i32, 0]);
    let words = t(&[3, 2], &[1u8, 2, 3, 4, 5, 9]);
    let places = t(&[2, 2], &[-4i8, 0, 8, 2]);
    let segments = t(&[1, 2], &[7u8, 7]);
    let (gamma, beta) = (t(&[2], &[3i8, -2]), t(&[2], &[10u8, 30]));
    let zero = t(&[1, 2], &[0i32; 2]);
    let one = |x: f32| t(&[], &[x]);
    let all = [
        Some(ids),
        Some(zero),
        Some(words),
        Some(places),
        Some(segments),
        Some(gamma),
        Some(beta),
        Some(t(&[1, 2], &[1i32, 0])),
        Some(one(0.5)),
        Some(one(0.25)),
        Some(one(2.0)),
        Some(one(0.5)),
        Some(one(0.1)),
        Some(t(&[], &[1u8])),
        Some(t(&[], &[0i8])),
        Some(t(&[], &[6u8])),
        Some(t(&[], &[-1i8])),
        Some(t(&[], &[20u8])),
    ];
    let run = |inputs: &[Option<Tensor>]| {
        let inputs: Vec<_> = inputs.iter().map(|t| t.clone().map(Value::Tensor)).collect();
        op.run_values(&inputs)
    };
    let out = run(&all).unwrap();
    // The lines are 2 − 1 + 2 and 4 + 0 + 2, then 0 + 2 + 2 and 0.5 + 0.5 + 2: both normalise to
    // −1 and 1, or the other way round. The scale is 2 and −0.5, the bias −1 and 1.
    let expected = t(&[1, 2, 2], &[-3f32, 0.5, 1.0, 1.5]);
    assert_close(out[0].as_tensor().unwrap(), &expected);
    assert_eq!(out[1].as_tensor().unwrap(), &t(&[1], &[1i32]));
    // The four parts of the segments go together.
    for part in [1, 4, 10, 15] {
        let mut inputs = all.clone();
        inputs[part] = None;
        assert!(run(&inputs).is_err(), "{part}");
    }
    let mut bare = all.clone();
    for part in [1, 4, 7, 10, 15] {
        bare[part] = None;
    }
    let out = run(&bare).unwrap();
    assert_close(out[0].as_tensor().unwrap(), &expected);
    let mut wrong = all;
    wrong[8] = Some(t(&[2], &[0.5f32; 2]));
    assert!(run(&wrong).is_err());
}
