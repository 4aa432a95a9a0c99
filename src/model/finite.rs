//! Refusal of requests with numbers that are NaN or infinite (`LoadOptions::finite_inputs`).

use super::{Features, Request, Signature};
use crate::error::{Result, bail};
use crate::tensor::{Data, Tensor, Value};
use std::fmt::Display;

impl Request<'_> {
    /// Fails at the first number that is not finite.
    pub(super) fn check_finite(&self, signature: &Signature) -> Result<()> {
        match self {
            Request::Row(features) | Request::Batch(features) => features.check_finite(signature),
            Request::Run { inputs, .. } => {
                inputs.iter().try_for_each(|(name, value)| check_value(name, value))
            }
        }
    }
}

impl Features<'_> {
    /// Fails at the first number that is not finite.
    pub(super) fn check_finite(&self, signature: &Signature) -> Result<()> {
        match self {
            Features::F32 { data, width, .. } => {
                check_rows(signature, *width, data.iter().map(|&x| f64::from(x)))
            }
            Features::F64 { data, width, .. } => {
                check_rows(signature, *width, data.iter().copied())
            }
            Features::Tensor(tensor) => check_tensor("the rows", tensor),
            Features::Columns(columns) => columns
                .iter()
                .try_for_each(|(name, tensor)| check_tensor(format_args!("'{name}'"), tensor)),
            Features::Inputs(tensors) => {
                tensors.iter().zip(&signature.inputs).try_for_each(|(tensor, input)| {
                    check_tensor(format_args!("input '{}'", input.name), tensor)
                })
            }
        }
    }
}

fn refuse(place: impl Display, number: f64) -> Result<()> {
    bail!(InvalidInput, "{place} is {number}: the model takes finite numbers only (finite_inputs)")
}

/// The first number that is not finite, and where it is.
fn first(numbers: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    numbers.enumerate().find(|(_, x)| !x.is_finite())
}

/// Row-major rows.
fn check_rows(
    signature: &Signature,
    width: usize,
    numbers: impl Iterator<Item = f64>,
) -> Result<()> {
    let Some((at, number)) = first(numbers) else { return Ok(()) };
    let (row, feature) = (at / width.max(1), at % width.max(1));
    let names = signature.feature_names.as_deref().unwrap_or_default();
    match names.get(feature).filter(|_| names.len() == width) {
        Some(name) => refuse(format_args!("'{name}' (feature {feature}) of row {row}"), number),
        None => refuse(format_args!("feature {feature} of row {row}"), number),
    }
}

fn check_tensor(whose: impl Display, tensor: &Tensor) -> Result<()> {
    let found = match tensor.data() {
        Data::F32(all) => first(all.iter().map(|&x| x.into())),
        Data::F64(all) => first(all.iter().copied()),
        Data::F16(all) => first(all.iter().map(|&x| x.into())),
        Data::BF16(all) => first(all.iter().map(|&x| x.into())),
        _ => None,
    };
    let Some((at, number)) = found else { return Ok(()) };
    let mut place = vec![0; tensor.dims().len()];
    let mut left = at;
    for (index, &size) in place.iter_mut().zip(tensor.dims()).rev() {
        (*index, left) = (left % size, left / size);
    }
    refuse(format_args!("element {place:?} of {whose}"), number)
}

fn check_value(name: &str, value: &Value) -> Result<()> {
    match value {
        Value::Tensor(tensor) => check_tensor(format_args!("input '{name}'"), tensor),
        Value::Sequence(values) => values.iter().try_for_each(|value| check_value(name, value)),
        Value::Map(map) => map.entries.iter().try_for_each(|(_, value)| check_value(name, value)),
        Value::Optional(inner) => inner.iter().try_for_each(|value| check_value(name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::model::TensorSpec;
    use crate::tensor::Map;
    use half::f16;

    fn named(names: &[&str]) -> Signature {
        let inputs = vec![TensorSpec { name: "X".into(), ty: None, batch_axis: Some(0) }];
        let feature_names = Some(names.iter().map(|&name| name.into()).collect());
        Signature { inputs, feature_names, ..Signature::default() }
    }

    #[track_caller]
    fn refused(result: Result<()>, words: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn the_place_is_told() {
        let signature = named(&["age", "income"]);
        let data = &[1.0, 2.0, 3.0, f32::NAN];
        let rows = Features::F32 { data, rows: 2, width: 2 };
        refused(rows.check_finite(&signature), "'income' (feature 1) of row 1 is NaN");
        refused(Request::Batch(rows).check_finite(&Signature::default()), "feature 1 of row 1");
        let data = &[f64::NEG_INFINITY];
        let row = Features::F64 { data, rows: 1, width: 1 };
        refused(Request::Row(row).check_finite(&signature), "feature 0 of row 0 is -inf");
        let data = &[1.0, -0.0];
        Features::F64 { data, rows: 1, width: 2 }.check_finite(&signature).unwrap();
        Features::F32 { data: &[], rows: 0, width: 0 }.check_finite(&signature).unwrap();
    }

    #[test]
    fn every_form_is_looked_through() {
        let bad = Tensor::from_vec(
            &[1, 2, 2],
            [1.0, 1.0, f32::INFINITY, 1.0].map(f16::from_f32).to_vec(),
        );
        let bad = bad.unwrap();
        let good = Tensor::from_vec(&[2], vec![i64::MIN, i64::MAX]).unwrap();
        let signature = named(&[]);
        let check = |features: Features<'_>| features.check_finite(&signature);
        refused(check(Features::Tensor(bad.clone())), "element [0, 1, 0] of the rows is inf");
        refused(check(Features::Inputs(vec![bad.clone()])), "of input 'X'");
        let columns = vec![("a".to_string(), good.clone()), ("b".to_string(), bad.clone())];
        refused(check(Features::Columns(columns)), "of 'b'");
        check(Features::Columns(vec![("a".to_string(), good.clone())])).unwrap();

        let run = |value: Value| {
            let inputs = vec![("good".to_string(), good.clone().into()), ("x".to_string(), value)];
            Request::Run { inputs, outputs: [].into() }.check_finite(&signature)
        };
        let value = Value::Tensor(bad);
        let key = crate::tensor::MapKey::Int(1);
        refused(run(Value::Map(Map { entries: vec![(key, value.clone())] })), "of input 'x'");
        refused(run(Value::Optional(Some(Box::new(value.clone())))), "of input 'x'");
        refused(run(Value::Sequence(vec![value])), "of input 'x'");
        run(Value::Optional(None)).unwrap();
    }
}
