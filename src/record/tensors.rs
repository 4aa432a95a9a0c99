//! Values as JSON that keeps every bit: element type, shape, and the little-endian bytes in
//! hexadecimal. Decimal numbers would lose NaN, the sign of zero, and the last bit here and there.

use crate::error::{Result, bail, ensure, err};
use crate::tensor::{Complex, Data, ElementType, Map, MapKey, Shape, Tensor, Value};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// How deep sequences, maps and optionals may nest.
const MAX_DEPTH: usize = 16;

/// A tensor in a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TensorForm {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strings: Option<Vec<String>>,
}

/// A value in a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ValueForm {
    Tensor(TensorForm),
    Sequence(Vec<ValueForm>),
    Map(Vec<(KeyForm, ValueForm)>),
    Optional(Option<Box<ValueForm>>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum KeyForm {
    Int(i64),
    Str(String),
}

fn hex_of(bytes: impl Iterator<Item = u8>) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

fn bytes_of(hex: &str) -> Result<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    ensure!(rest.is_empty(), InvalidInput, "an odd number of hexadecimal digits");
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |[high, low]: &[u8; 2]| Some(value(*high)? << 4 | value(*low)?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.ok_or_else(|| err!(InvalidInput, "not hexadecimal digits"))
}

impl TensorForm {
    pub(super) fn of(tensor: &Tensor) -> TensorForm {
        macro_rules! hex {
            ($v:expr) => {
                (Some(hex_of($v.iter().flat_map(|x| x.to_le_bytes()))), None)
            };
        }
        let (hex, strings) = match tensor.data() {
            Data::F32(v) => hex!(v),
            Data::F64(v) => hex!(v),
            Data::F16(v) => hex!(v),
            Data::BF16(v) => hex!(v),
            Data::I8(v) => hex!(v),
            Data::I16(v) => hex!(v),
            Data::I32(v) => hex!(v),
            Data::I64(v) => hex!(v),
            Data::U8(v) => hex!(v),
            Data::U16(v) => hex!(v),
            Data::U32(v) => hex!(v),
            Data::U64(v) => hex!(v),
            Data::Bool(v) => (Some(hex_of(v.iter().map(|b| u8::from(*b)))), None),
            Data::String(v) => (None, Some(v.clone())),
            Data::C64(v) => hex!(v.iter().flat_map(|x| [x.re, x.im]).collect::<Vec<_>>()),
            Data::C128(v) => hex!(v.iter().flat_map(|x| [x.re, x.im]).collect::<Vec<_>>()),
            small => (Some(hex_of(small.small_bits().unwrap_or_default().into_iter())), None),
        };
        let shape = tensor.dims().to_vec();
        TensorForm { dtype: tensor.dtype().name().to_string(), shape, hex, strings }
    }

    pub(super) fn tensor(self) -> Result<Tensor> {
        let shape = Shape::new(&self.shape)?;
        let dtype = element_type(&self.dtype)?;
        if dtype == ElementType::String {
            let strings = self.strings.unwrap_or_default();
            return Tensor::new(shape, Data::String(strings));
        }
        let hex = self.hex.unwrap_or_default();
        // Before anything of the pretended size is made.
        let digits = shape.len().checked_mul(2 * dtype.size());
        ensure!(
            digits == Some(hex.len()),
            InvalidInput,
            "{} digits do not fill {dtype}{shape}",
            hex.len()
        );
        let bytes = bytes_of(&hex)?;
        macro_rules! numbers {
            ($t:ty) => {
                bytes.as_chunks().0.iter().map(|b| <$t>::from_le_bytes(*b)).collect()
            };
        }
        let data = match dtype {
            ElementType::F32 => Data::F32(numbers!(f32)),
            ElementType::F64 => Data::F64(numbers!(f64)),
            ElementType::F16 => Data::F16(numbers!(f16)),
            ElementType::BF16 => Data::BF16(numbers!(bf16)),
            ElementType::I8 => Data::I8(numbers!(i8)),
            ElementType::I16 => Data::I16(numbers!(i16)),
            ElementType::I32 => Data::I32(numbers!(i32)),
            ElementType::I64 => Data::I64(numbers!(i64)),
            ElementType::U8 => Data::U8(numbers!(u8)),
            ElementType::U16 => Data::U16(numbers!(u16)),
            ElementType::U32 => Data::U32(numbers!(u32)),
            ElementType::U64 => Data::U64(numbers!(u64)),
            ElementType::Bool => Data::Bool(bytes.iter().map(|b| *b != 0).collect()),
            ElementType::String => Data::String(Vec::new()),
            ElementType::C64 => {
                let parts: Vec<f32> = numbers!(f32);
                Data::C64(Complex::pairs(&parts)?)
            }
            ElementType::C128 => {
                let parts: Vec<f64> = numbers!(f64);
                Data::C128(Complex::pairs(&parts)?)
            }
            small => Data::from_small_bits(small, bytes.iter().copied())
                .ok_or_else(|| err!(InvalidInput, "no elements of {small} in a recording"))?,
        };
        Tensor::new(shape, data)
    }
}

fn element_type(name: &str) -> Result<ElementType> {
    let found = ElementType::from_name(name);
    found.ok_or_else(|| err!(InvalidInput, "unknown element type {name:?}"))
}

impl ValueForm {
    pub(super) fn of(value: &Value) -> ValueForm {
        match value {
            Value::Tensor(t) => ValueForm::Tensor(TensorForm::of(t)),
            Value::Sequence(v) => ValueForm::Sequence(v.iter().map(ValueForm::of).collect()),
            Value::Map(map) => {
                let key = |key: &MapKey| match key {
                    MapKey::Int(n) => KeyForm::Int(*n),
                    MapKey::Str(text) => KeyForm::Str(text.to_string()),
                };
                let entries = map.entries.iter().map(|(k, v)| (key(k), ValueForm::of(v)));
                ValueForm::Map(entries.collect())
            }
            Value::Optional(v) => {
                ValueForm::Optional(v.as_ref().map(|v| Box::new(ValueForm::of(v))))
            }
        }
    }

    pub(super) fn value(self) -> Result<Value> {
        self.value_at(0)
    }

    fn value_at(self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            bail!(LimitExceeded, "values nest deeper than {MAX_DEPTH}");
        }
        let deeper = |form: ValueForm| form.value_at(depth + 1);
        Ok(match self {
            ValueForm::Tensor(t) => Value::Tensor(t.tensor()?),
            ValueForm::Sequence(v) => {
                Value::Sequence(v.into_iter().map(deeper).collect::<Result<_>>()?)
            }
            ValueForm::Map(entries) => {
                let entry = |(key, value): (KeyForm, ValueForm)| {
                    let key = match key {
                        KeyForm::Int(n) => MapKey::Int(n),
                        KeyForm::Str(text) => MapKey::Str(text.into()),
                    };
                    Ok((key, deeper(value)?))
                };
                let entries = entries.into_iter().map(entry).collect::<Result<_>>()?;
                Value::Map(Map { entries })
            }
            ValueForm::Optional(v) => {
                Value::Optional(v.map(|v| deeper(*v).map(Box::new)).transpose()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(value: &Value) -> Value {
        let text = serde_json::to_string(&ValueForm::of(value)).unwrap();
        serde_json::from_str::<ValueForm>(&text).unwrap().value().unwrap()
    }

    #[test]
    fn every_bit_of_every_element_type_survives() {
        let odd = [0x7fc0_0001u32, 0xff80_0000, 0x8000_0000, 1, 0x3dcc_cccd].map(f32::from_bits);
        let back = round(&Tensor::from_vec(&[5], odd.to_vec()).unwrap().into());
        let bits: Vec<u32> = back
            .as_tensor()
            .unwrap()
            .as_slice::<f32>()
            .unwrap()
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(bits, odd.map(f32::to_bits));
        let shape = Shape::new(&[1, 2]).unwrap();
        for data in [
            Data::F64(vec![0.1, -0.0]),
            Data::F16(vec![f16::ONE, f16::MIN_POSITIVE]),
            Data::BF16(vec![bf16::ONE, bf16::MAX]),
            Data::I8(vec![-128, 127]),
            Data::I16(vec![i16::MIN, 1]),
            Data::I32(vec![i32::MIN, 1]),
            Data::I64(vec![i64::MIN, i64::MAX]),
            Data::U8(vec![0, 255]),
            Data::U16(vec![0, u16::MAX]),
            Data::U32(vec![0, u32::MAX]),
            Data::U64(vec![0, u64::MAX]),
            Data::Bool(vec![true, false]),
            Data::String(vec!["a\"\n\u{1F600}".into(), String::new()]),
        ] {
            let value = Value::from(Tensor::new(shape.clone(), data).unwrap());
            assert_eq!(round(&value), value);
        }
    }

    #[test]
    fn nested_values_survive_and_too_deep_ones_are_refused() {
        let leaf = Value::from(Tensor::from_vec(&[0, 3], Vec::<f32>::new()).unwrap());
        let map = Map {
            entries: vec![
                (MapKey::Int(-1), leaf.clone()),
                (MapKey::Str("1".into()), Value::Optional(None)),
            ],
        };
        let value = Value::Sequence(vec![Value::Map(map), Value::Optional(Some(leaf.into()))]);
        assert_eq!(round(&value), value);
        let mut deep = ValueForm::Sequence(vec![]);
        for _ in 0..MAX_DEPTH + 1 {
            deep = ValueForm::Sequence(vec![deep]);
        }
        assert!(deep.value().is_err());
    }

    #[test]
    fn tensors_that_contradict_themselves_are_refused() {
        for text in [
            r#"{"dtype":"float32","shape":[1],"hex":"00"}"#,
            r#"{"dtype":"float32","shape":[1],"hex":"0000000g"}"#,
            r#"{"dtype":"float32","shape":[1]}"#,
            r#"{"dtype":"float32","shape":[1099511627776],"hex":""}"#,
            r#"{"dtype":"float32","shape":[4294967296,4294967296],"hex":""}"#,
            r#"{"dtype":"str","shape":[1],"hex":"00"}"#,
            r#"{"dtype":"object","shape":[0],"hex":""}"#,
        ] {
            let form: TensorForm = serde_json::from_str(text).unwrap();
            assert!(form.tensor().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<TensorForm>(r#"{"dtype":"str","shape":[-1]}"#).is_err());
    }
}
