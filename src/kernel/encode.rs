//! Encoders of ai.onnx.ml: OneHotEncoder, LabelEncoder, CategoryMapper, DictVectorizer.

use super::registry::{Entry, ml};
use super::{Context, Encoder, Encoding, Inputs, Kernel, OpSpec, Outputs, TextPart, one};
use crate::error::{Result, bail, ensure, err};
use crate::tensor::{Carrier, Data, ElementType, MapKey, Tensor, Value, for_each_carrier};
use rustc_hash::FxHashMap;
use std::collections::HashMap;

pub(super) const OPS: &[Entry] = &[
    ml("OneHotEncoder", 1, prepare_one_hot),
    ml("LabelEncoder", 1, prepare_label_encoder),
    ml("CategoryMapper", 1, prepare_category_mapper),
    ml("DictVectorizer", 1, prepare_dict_vectorizer),
];

/// From key to position, whatever type the keys have.
///
/// Only the model's own keys are ever put in: a plain hash is enough.
enum Keys {
    Ints(FxHashMap<i64, u32>),
    Strings(FxHashMap<String, u32>),
    /// By [`float_key`]; with NaN where the version lets NaN equal itself.
    Floats(FxHashMap<u64, u32>),
}

/// Equal floats have equal keys: one zero, one NaN.
fn float_key(x: f64) -> u64 {
    if x.is_nan() {
        f64::NAN.to_bits()
    } else {
        // Adding zero turns -0 into +0.
        (x + 0.0).to_bits()
    }
}

/// An integer the way a cast in C gives it; what does not fit becomes the least one.
fn truncated(x: f64) -> i64 {
    if (i64::MIN as f64..i64::MAX as f64).contains(&x) { x as i64 } else { i64::MIN }
}

impl Keys {
    fn of_text(&self, text: &str) -> Option<usize> {
        match self {
            Keys::Strings(map) => map.get(text).map(|&p| p as usize),
            Keys::Ints(_) | Keys::Floats(_) => None,
        }
    }

    fn of_number(&self, number: f64) -> Option<usize> {
        let position = match self {
            Keys::Ints(map) => map.get(&truncated(number)),
            Keys::Floats(map) => map.get(&float_key(number)),
            Keys::Strings(_) => None,
        };
        position.map(|&p| p as usize)
    }

    /// Calls `put` with the position of each element of `input`.
    fn find(&self, op: &str, input: &Tensor, mut put: impl FnMut(Option<u32>)) -> Result<()> {
        match (self, input.data()) {
            (Keys::Strings(map), Data::String(v)) => {
                v.iter().for_each(|s| put(map.get(s).copied()))
            }
            (Keys::Ints(map), Data::I64(v)) => v.iter().for_each(|i| put(map.get(i).copied())),
            (Keys::Ints(map), data) if data.dtype().is_integer() => {
                input.to_i64_vec()?.iter().for_each(|i| put(map.get(i).copied()));
            }
            (Keys::Floats(map), data) if data.dtype().is_float() => {
                let find = |x: &f64| map.get(&float_key(*x)).copied();
                input.to_f64_vec()?.iter().for_each(|x| put(find(x)));
            }
            (_, other) => {
                bail!(InvalidInput, "{op}: its keys do not fit elements of type {}", other.dtype())
            }
        }
        Ok(())
    }
}

struct OneHotEncoder {
    keys: Keys,
    categories: usize,
    /// An unknown category is a row of zeros, not an error.
    zeros: bool,
}

fn prepare_one_hot(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let ints = spec.attributes.ints("cats_int64s")?;
    let strings = spec.attributes.strs("cats_strings")?;
    ensure!(
        ints.is_empty() != strings.is_empty(),
        InvalidModel,
        "{}: expected one of 'cats_int64s' and 'cats_strings'",
        spec.op
    );
    let categories = ints.len().max(strings.len());
    let keys = if strings.is_empty() {
        Keys::Ints(ints.iter().copied().zip(0..).collect())
    } else {
        Keys::Strings(strings.into_iter().zip(0..).collect())
    };
    Ok(Box::new(OneHotEncoder { keys, categories, zeros: spec.attributes.flag("zeros", true)? }))
}

impl Kernel for OneHotEncoder {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let mut dims = input.dims().to_vec();
        dims.push(self.categories);
        let shape = ctx.shape_of::<f32>(&dims)?;
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let mut slots = out.chunks_exact_mut(self.categories);
        let mut unknown = 0usize;
        let mut put = |position: Option<u32>| match (position, slots.next()) {
            (Some(p), Some(slot)) => slot[p as usize] = 1.0,
            _ => unknown += 1,
        };
        match (&self.keys, input.data()) {
            // Floats stand for the integers they are cut to.
            (Keys::Ints(map), data) if data.dtype().is_float() => {
                let values = input.to_f64_vec()?;
                values.iter().for_each(|&x| put(map.get(&truncated(x)).copied()));
            }
            (keys, _) => keys.find("OneHotEncoder", input, put)?,
        }
        ensure!(
            unknown == 0 || self.zeros,
            InvalidInput,
            "OneHotEncoder: {unknown} of {} values are no known category",
            input.len()
        );
        one(ctx.tensor(shape, out)?)
    }

    fn text_part(&self) -> Option<TextPart<'_>> {
        Some(TextPart::Encode(self))
    }
}

impl Encoder for OneHotEncoder {
    fn reads_text(&self) -> bool {
        matches!(self.keys, Keys::Strings(_))
    }

    fn takes(&self, numbers: ElementType) -> bool {
        // Floats are cut to integers.
        matches!(self.keys, Keys::Ints(_)) && (numbers.is_float() || numbers.is_integer())
    }

    fn of_text(&self, text: &str) -> Option<usize> {
        self.keys.of_text(text)
    }

    fn of_number(&self, number: f64) -> Option<usize> {
        self.keys.of_number(number)
    }

    fn encoding(&self) -> Encoding<'_> {
        Encoding::OneHot { categories: self.categories, zeros: self.zeros }
    }
}

/// Replaces keys by values.
struct LabelEncoder {
    keys: Keys,
    values: Data,
    /// One element of the type of `values`.
    default: Data,
}

/// The list of a LabelEncoder that is there: of one of three types or a tensor.
fn label_list(spec: &OpSpec<'_>, kind: &str) -> Result<Data> {
    let a = spec.attributes;
    let mut found = Vec::new();
    if let Some(tensor) = a.tensor_opt(&format!("{kind}_tensor"))? {
        found.push(tensor.clone().into_data());
    }
    let strings = a.strs(&format!("{kind}_strings"))?;
    if !strings.is_empty() {
        found.push(Data::String(strings));
    }
    let ints = a.ints(&format!("{kind}_int64s"))?;
    if !ints.is_empty() {
        found.push(Data::I64(ints.to_vec()));
    }
    let floats = a.floats(&format!("{kind}_floats"))?;
    if !floats.is_empty() {
        found.push(Data::F32(floats.to_vec()));
    }
    match (found.pop(), found.is_empty()) {
        (Some(data), true) => Ok(data),
        _ => Err(spec.invalid(format_args!("expected exactly one list of {kind}"))),
    }
}

fn label_default(spec: &OpSpec<'_>, values: &Data) -> Result<Data> {
    let a = spec.attributes;
    if let Some(tensor) = a.tensor_opt("default_tensor")? {
        ensure!(
            tensor.len() == 1 && tensor.dtype() == values.dtype(),
            InvalidModel,
            "{}: 'default_tensor' is {} {}, expected one {}",
            spec.op,
            tensor.shape(),
            tensor.dtype(),
            values.dtype()
        );
        return Ok(tensor.clone().into_data());
    }
    Ok(match values {
        Data::String(_) => Data::String(vec![a.str("default_string", "_Unused")?]),
        Data::F32(_) => Data::F32(vec![a.float("default_float", -0.0)?]),
        Data::F64(_) => Data::F64(vec![a.float("default_float", -0.0)?.into()]),
        Data::I64(_) => Data::I64(vec![a.int("default_int64", -1)?]),
        Data::I32(_) => Data::I32(vec![a.int("default_int64", -1)? as i32]),
        Data::I16(_) => Data::I16(vec![a.int("default_int64", -1)? as i16]),
        other => return Err(spec.unsupported(format_args!("values of type {}", other.dtype()))),
    })
}

/// The first of equal keys counts.
fn first_positions<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> FxHashMap<K, u32> {
    let mut map = FxHashMap::default();
    for (key, i) in keys.zip(0u32..) {
        map.entry(key).or_insert(i);
    }
    map
}

fn prepare_label_encoder(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    if spec.version < 2 {
        let strings = spec.attributes.strs("classes_strings")?;
        let ints = (0..).take(strings.len()).collect();
        return two_way(spec, strings, ints);
    }
    let keys = label_list(spec, "keys")?;
    let values = label_list(spec, "values")?;
    ensure!(
        keys.len() == values.len(),
        InvalidModel,
        "{}: {} keys, {} values",
        spec.op,
        keys.len(),
        values.len()
    );
    let default = label_default(spec, &values)?;
    // Before version 4 a NaN equals nothing, itself included.
    let nan_matches = spec.version >= 4;
    let keys = match keys {
        Data::String(v) => Keys::Strings(first_positions(v.into_iter())),
        data if data.dtype().is_float() => {
            let tensor = Tensor::new(crate::tensor::Shape::new(&[data.len()])?, data)?;
            let mut map = first_positions(tensor.to_f64_vec()?.into_iter().map(float_key));
            if !nan_matches {
                map.remove(&float_key(f64::NAN));
            }
            Keys::Floats(map)
        }
        data => {
            let tensor = Tensor::new(crate::tensor::Shape::new(&[data.len()])?, data)?;
            Keys::Ints(first_positions(tensor.to_i64_vec()?.into_iter()))
        }
    };
    Ok(Box::new(LabelEncoder { keys, values, default }))
}

impl Kernel for LabelEncoder {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        one(for_each_carrier!(&self.values, v => self.replace(ctx, input, v))?)
    }

    fn text_part(&self) -> Option<TextPart<'_>> {
        Some(TextPart::Encode(self))
    }
}

impl Encoder for LabelEncoder {
    fn reads_text(&self) -> bool {
        matches!(self.keys, Keys::Strings(_))
    }

    fn takes(&self, numbers: ElementType) -> bool {
        match self.keys {
            Keys::Ints(_) => numbers.is_integer(),
            Keys::Floats(_) => numbers.is_float(),
            Keys::Strings(_) => false,
        }
    }

    fn of_text(&self, text: &str) -> Option<usize> {
        self.keys.of_text(text)
    }

    fn of_number(&self, number: f64) -> Option<usize> {
        self.keys.of_number(number)
    }

    fn encoding(&self) -> Encoding<'_> {
        Encoding::Values { values: &self.values, default: &self.default }
    }
}

impl LabelEncoder {
    fn replace<T: Carrier>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        values: &[T],
    ) -> Result<Tensor> {
        let default =
            T::carried(&self.default).and_then(|v| v.first().cloned()).unwrap_or_default();
        let mut out = ctx.buffer::<T>(x.len())?;
        self.keys.find("LabelEncoder", x, |position| {
            let value = position.and_then(|p| values.get(p as usize));
            out.push(value.unwrap_or(&default).clone());
        })?;
        Tensor::moved(x.shape().clone(), out, self.values.dtype())
    }
}

/// Strings to integers and back, by the type of the input.
struct TwoWay {
    to_int: HashMap<String, i64>,
    to_string: HashMap<i64, String>,
    default_int: i64,
    default_string: String,
}

fn two_way(spec: &OpSpec<'_>, strings: Vec<String>, ints: Vec<i64>) -> Result<Box<dyn Kernel>> {
    ensure!(
        strings.len() == ints.len(),
        InvalidModel,
        "{}: {} strings for {} integers",
        spec.op,
        strings.len(),
        ints.len()
    );
    Ok(Box::new(TwoWay {
        to_int: strings.iter().cloned().zip(ints.iter().copied()).collect(),
        to_string: ints.into_iter().zip(strings).collect(),
        default_int: spec.attributes.int("default_int64", -1)?,
        default_string: spec.attributes.str("default_string", "_Unused")?,
    }))
}

fn prepare_category_mapper(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let ints = spec.attributes.ints("cats_int64s")?.to_vec();
    two_way(spec, spec.attributes.strs("cats_strings")?, ints)
}

impl Kernel for TwoWay {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let shape = input.shape().clone();
        if let Data::String(v) = input.data() {
            let mut out = ctx.buffer::<i64>(v.len())?;
            out.extend(v.iter().map(|s| self.to_int.get(s).copied().unwrap_or(self.default_int)));
            return one(ctx.tensor(shape, out)?);
        }
        let mut out = ctx.buffer::<String>(input.len())?;
        for i in input.to_i64_vec()? {
            out.push(self.to_string.get(&i).unwrap_or(&self.default_string).clone());
        }
        one(ctx.tensor(shape, out)?)
    }
}

/// A map as one row, by a vocabulary of its keys.
struct DictVectorizer {
    positions: FxHashMap<MapKey, u32>,
    width: usize,
}

fn prepare_dict_vectorizer(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let strings = spec.attributes.strs("string_vocabulary")?;
    let ints = spec.attributes.ints("int64_vocabulary")?;
    ensure!(
        strings.is_empty() != ints.is_empty(),
        InvalidModel,
        "{}: expected one of 'string_vocabulary' and 'int64_vocabulary'",
        spec.op
    );
    let keys: Vec<MapKey> = match strings.is_empty() {
        true => ints.iter().map(|&i| MapKey::Int(i)).collect(),
        false => strings.into_iter().map(|s| MapKey::Str(s.into())).collect(),
    };
    let width = keys.len();
    Ok(Box::new(DictVectorizer { positions: first_positions(keys.into_iter()), width }))
}

impl DictVectorizer {
    fn row<T: Carrier>(
        &self,
        ctx: &mut Context<'_>,
        entries: &[(MapKey, Value)],
        _: &[T],
        dtype: ElementType,
    ) -> Result<Tensor> {
        let mut out = ctx.filled(self.width, T::default())?;
        for (key, value) in entries {
            let value = value.as_tensor()?.carried::<T>(dtype)?;
            let value = value
                .first()
                .ok_or_else(|| err!(InvalidInput, "DictVectorizer: an empty value"))?;
            // Keys that are not in the vocabulary are left out.
            if let Some(&at) = self.positions.get(key) {
                out[at as usize] = value.clone();
            }
        }
        let shape = ctx.shape_of::<T>(&[1, self.width])?;
        Tensor::moved(shape, out, dtype)
    }
}

impl Kernel for DictVectorizer {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let entries = match inputs.get(0) {
            Some(Value::Map(map)) => &map.entries,
            Some(other) => {
                bail!(InvalidInput, "DictVectorizer: expected a map, got a {}", other.type_name())
            }
            None => bail!(InvalidInput, "DictVectorizer: input 0 is missing"),
        };
        match entries.first() {
            Some((_, value)) => {
                let first = value.as_tensor()?;
                one(for_each_carrier!(first.data(), v => self.row(ctx, entries, v, first.dtype()))?)
            }
            // An empty map does not say its type: zeros of the commonest.
            None => one(self.row::<u32>(ctx, entries, &[], ElementType::F32)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Op, strings, t};
    use crate::attribute::Attribute;
    use crate::tensor::{Map, MapKey, Tensor, Value};

    #[test]
    fn categories_become_columns() {
        let op = Op::ml("OneHotEncoder", 1).attr("cats_int64s", Attribute::Ints(vec![0, 5]));
        let y = op.run1(&[t(&[1, 4], &[5.9f32, 0.0, 7.0, f32::NAN])]);
        assert_eq!(y, t(&[1, 4, 2], &[0f32, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert!(op.int("zeros", 0).run(&[t(&[1], &[7i64])]).is_err());
    }

    #[test]
    fn a_nan_key_is_found_from_version_4() {
        for (version, expected) in [(2, -1i64), (4, 7)] {
            let op = Op::ml("LabelEncoder", version)
                .attr("keys_floats", Attribute::Floats(vec![f32::NAN, 0.0]))
                .attr("values_int64s", Attribute::Ints(vec![7, 8]));
            let y = op.run1(&[t(&[3], &[f32::NAN, -0.0, 1.0])]);
            assert_eq!(y, t(&[3], &[expected, 8, -1]));
        }
    }

    #[test]
    fn tensors_and_defaults() {
        let op = Op::ml("LabelEncoder", 4)
            .attr("keys_tensor", Attribute::Tensor(strings(&[2], &["a", "b"])))
            .attr("values_tensor", Attribute::Tensor(t(&[2], &[1i16, 2])))
            .attr("default_tensor", Attribute::Tensor(t(&[1], &[-7i16])));
        assert_eq!(op.run1(&[strings(&[2], &["b", "x"])]), t(&[2], &[2i16, -7]));
        assert!(op.run(&[t(&[1], &[1i64])]).is_err());
        let names = vec![b"a"[..].into(), b"b"[..].into()];
        let op = Op::ml("LabelEncoder", 1).attr("classes_strings", Attribute::Strings(names));
        assert_eq!(op.run1(&[strings(&[2], &["b", "x"])]), t(&[2], &[1i64, -1]));
        assert_eq!(op.run1(&[t(&[2], &[0i64, 9])]), strings(&[2], &["a", "_Unused"]));
    }

    #[test]
    fn a_map_becomes_a_row() {
        let op =
            Op::ml("DictVectorizer", 1).attr("int64_vocabulary", Attribute::Ints(vec![9, 4, 1]));
        let entry = |k, v: f32| (MapKey::Int(k), Value::from(Tensor::scalar(v)));
        let map = Value::Map(Map { entries: vec![entry(1, 0.5), entry(9, 2.0), entry(3, 1.0)] });
        let y = op.run_values(&[Some(map)]).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(y, t(&[1, 3], &[2f32, 0.0, 0.5]));
    }
}
