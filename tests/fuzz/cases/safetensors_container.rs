//! safetensors files, against the reference crate: what one accepts the other accepts, and the
//! elements of the tensors are the same.
//!
//! Where the first byte is even the rest is a file; else it is a header's text up to the last
//! brace, and what lies behind it, and the header's length is put before it, so that a change of
//! the text is no change of the length.

#[allow(dead_code)]
mod ask;

use modelserve::tensor::{Data, Tensor};
use modelserve::{Error, ErrorKind, Format, GraphModel, LoadOptions, Model, load_bytes};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

/// Most elements of a tensor whose values are compared.
const MOST: usize = 1 << 12;
/// Most dimensions of one: with the batch there is one more.
const MOST_DIMS: usize = 8;

/// Layers without weights: a file is refused for its container alone.
const NO_WEIGHTS: &str = r#"{"format":"modelserve-layers","version":1,"ignore_unused":true,"inputs":[{"name":"x","shape":["batch",4]}],"layers":[{"type":"softmax"}]}"#;

fn load(file: &[u8], config: String) -> modelserve::Result<GraphModel> {
    let options = LoadOptions {
        format: Some(Format::Safetensors),
        config: Some(config),
        ..LoadOptions::default()
    };
    load_bytes(file.to_vec(), &ask::small(options))
}

/// Whether we refuse a file that the reference accepts on purpose: it needs a type or a size that
/// we have not, or breaks a rule of the format that the reference does not keep (it takes a space
/// before the brace, the last of two tensors of a name, and a type that is an object).
fn on_purpose(error: &Error) -> bool {
    const RULES: [&str; 3] =
        ["does not start with '{'", "two tensors are named", "expected a string"];
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::LimitExceeded)
        || (error.kind() == ErrorKind::InvalidModel
            && RULES.iter().any(|rule| error.message().contains(rule)))
}

/// The bits of all elements; those of one NaN for all.
fn bits(values: impl Iterator<Item = f64>) -> Vec<u64> {
    let one = |x: f64| if x.is_nan() { f64::NAN } else { x };
    values.map(|x| one(x).to_bits()).collect()
}

/// The elements by the format's own rule.
fn elements(view: &TensorView<'_>) -> Option<Vec<u64>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bits(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into())),
        Dtype::F64 => bits(data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b))),
        Dtype::F16 => {
            bits(data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()))
        }
        Dtype::BF16 => {
            bits(data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()))
        }
        _ => return None,
    })
}

/// Multiplies a tensor of the file with ones.
fn check(file: &[u8], name: &str, view: &TensorView<'_>) {
    let shape = view.shape();
    let count = shape.iter().product::<usize>();
    let fits = (1..=MOST).contains(&count) && shape.len() <= MOST_DIMS && !name.is_empty();
    let Some(expected) = elements(view).filter(|_| fits) else { return };
    let double = view.dtype() == Dtype::F64;
    let mut dims = vec![json!("batch")];
    dims.extend(shape.iter().map(|size| json!(size)));
    let dtype = if double { "float64" } else { "float32" };
    let config = json!({
        "format": "modelserve-layers", "version": 1, "ignore_unused": true, "dtype": dtype,
        "inputs": [{"name": "x", "dtype": dtype, "shape": dims}],
        "layers": [{"type": "mul_parameter", "name": name, "shape": shape}],
    });
    let model = match load(file, config.to_string()) {
        Ok(model) => model,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{name}: {error}");
            return;
        }
    };
    let dims: Vec<usize> = [1].iter().chain(shape).copied().collect();
    let ones = match double {
        true => Tensor::from_vec(&dims, vec![1f64; count]),
        false => Tensor::from_vec(&dims, vec![1f32; count]),
    };
    let ones = ones.expect("a small tensor");
    let answer = model.run(vec![("x".to_string(), ones.into())], &[]).expect("a sound request");
    let got = match answer[0].1.as_tensor().expect("a tensor").data() {
        Data::F32(all) => bits(all.iter().map(|x| f64::from(*x))),
        Data::F64(all) => bits(all.iter().copied()),
        other => panic!("{:?}", other.dtype()),
    };
    assert_eq!(got, expected, "{name}");
}

/// The file that the bytes mean.
fn file(bytes: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = bytes.split_first()?;
    if first % 2 == 0 {
        return Some(rest.to_vec());
    }
    let end = rest.iter().rposition(|b| *b == b'}')? + 1;
    Some([&(end as u64).to_le_bytes()[..], rest].concat())
}

pub fn run(bytes: &[u8]) {
    let Some(file) = file(bytes) else { return };
    let ours = load(&file, NO_WEIGHTS.to_string());
    match (ours, SafeTensors::deserialize(&file)) {
        (Ok(_), Ok(reference)) => {
            for (name, view) in reference.tensors() {
                check(&file, &name, &view);
            }
        }
        (Ok(_), Err(error)) => panic!("accepted what the reference refuses: {error}"),
        (Err(error), Ok(_)) => assert!(on_purpose(&error), "the reference accepts it: {error}"),
        (Err(error), Err(_)) => assert_ne!(error.kind(), ErrorKind::Internal, "{error}"),
    }
}
