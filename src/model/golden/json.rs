//! A line of JSON as a golden request. Numbers become tensors of the element type that the
//! signature wants.

use super::{Expected, GOLDEN_TOLERANCE, Golden};
use crate::error::{Result, bail, ensure, err};
use crate::model::request::convert;
use crate::model::{Answer, Features, Request, Signature, Task};
use crate::tensor::{Data, ElementType, Shape, Tensor};
use serde_json::{Map, Value as Json};

const KEYS: [&str; 8] =
    ["row", "rows", "inputs", "prediction", "predictions", "probabilities", "outputs", "tolerance"];

pub(super) fn golden(line: &[u8], signature: &Signature) -> Result<Golden> {
    let mut fields: Map<String, Json> =
        serde_json::from_slice(line).map_err(|e| err!(InvalidInput, "not a JSON object: {e}"))?;
    if let Some(key) = fields.keys().find(|k| !KEYS.contains(&k.as_str())) {
        bail!(InvalidInput, "unknown key {key:?}; known are {}", KEYS.join(", "));
    }
    let (row, rows, inputs) =
        (fields.remove("row"), fields.remove("rows"), fields.remove("inputs"));
    let mut expected = Expected::default();
    let request = match (row, rows, inputs) {
        (Some(row), None, None) => {
            expected.answers =
                taken(&mut fields, "prediction", |j| Ok(vec![answer(signature, j)?]))?;
            expected.probabilities =
                taken(&mut fields, "probabilities", |j| Ok(vec![numbers(&j)?]))?;
            Request::Row(features(signature, row, true)?)
        }
        (None, Some(rows), None) => {
            expected.answers = taken(&mut fields, "predictions", |j| {
                items(j)?.into_iter().map(|j| answer(signature, j)).collect()
            })?;
            expected.probabilities =
                taken(&mut fields, "probabilities", |j| items(j)?.iter().map(numbers).collect())?;
            Request::Batch(features(signature, rows, false)?)
        }
        (None, None, Some(Json::Object(inputs))) => {
            let of = |name: &str| signature.inputs.iter().find(|spec| spec.name == name);
            let inputs = inputs.into_iter().map(|(name, json)| {
                let spec = of(&name)
                    .ok_or_else(|| err!(InvalidInput, "'{name}' is no input of the model"))?;
                let value = tensor(&json, spec.dtype()).map_err(|e| e.context(&name))?;
                Ok((name, value.into()))
            });
            Request::Run { inputs: inputs.collect::<Result<_>>()?, outputs: [].into() }
        }
        _ => {
            bail!(InvalidInput, "expected just one of \"row\", \"rows\" and \"inputs\" (an object)")
        }
    };
    if let Some(json) = fields.remove("outputs") {
        let Json::Object(outputs) = json else {
            bail!(InvalidInput, "outputs: expected an object")
        };
        for (name, json) in outputs {
            let Some(spec) = signature.outputs.iter().find(|spec| spec.name == name) else {
                bail!(InvalidInput, "'{name}' is no output of the model");
            };
            let value = tensor(&json, spec.dtype()).map_err(|e| e.context(&name))?;
            expected.outputs.push((name, value.into()));
        }
    }
    let tolerance = match fields.remove("tolerance") {
        None => GOLDEN_TOLERANCE,
        Some(json) => json
            .as_f64()
            .filter(|t| t.is_finite() && *t >= 0.0)
            .ok_or_else(|| err!(InvalidInput, "tolerance {json}: expected a number, 0 or more"))?,
    };
    if let Some(key) = fields.keys().next() {
        bail!(InvalidInput, "\"{key}\" does not go with this kind of request");
    }
    Ok(Golden { request, expected, tolerance, line: 0 })
}

fn taken<T>(
    fields: &mut Map<String, Json>,
    key: &str,
    read: impl FnOnce(Json) -> Result<T>,
) -> Result<Option<T>> {
    let json = fields.remove(key);
    json.map(|json| read(json).map_err(|e| e.context(key))).transpose()
}

fn items(json: Json) -> Result<Vec<Json>> {
    match json {
        Json::Array(items) => Ok(items),
        other => Err(err!(InvalidInput, "expected a list, got {}", kind(&other))),
    }
}

/// Rows: lists of values, or an object of columns.
fn features(signature: &Signature, json: Json, one: bool) -> Result<Features<'static>> {
    if let Json::Object(columns) = json {
        let columns = columns.into_iter().map(|(name, json)| {
            let json = if one { Json::Array(vec![json]) } else { json };
            let spec = signature.inputs.iter().find(|spec| spec.name == name);
            let value =
                tensor(&json, spec.and_then(|s| s.dtype())).map_err(|e| e.context(&name))?;
            Ok((name, value))
        });
        return Ok(Features::Columns(columns.collect::<Result<_>>()?));
    }
    let json = if one { Json::Array(vec![json]) } else { json };
    let dtype = match signature.inputs.as_slice() {
        [input] => input.dtype(),
        _ => None,
    };
    tensor(&json, dtype).map(Features::Tensor)
}

fn answer(signature: &Signature, json: Json) -> Result<Answer> {
    let whole = |j: &Json| {
        j.as_i64().ok_or_else(|| err!(InvalidInput, "expected a whole number, got {}", kind(j)))
    };
    Ok(match (signature.task, json) {
        (Task::Tensors, _) => {
            bail!(InvalidInput, "the model's answer is its outputs: use \"outputs\"")
        }
        (Task::Multilabel, Json::Array(labels)) => {
            Answer::Labels(labels.iter().map(whole).collect::<Result<_>>()?)
        }
        (Task::Classifier | Task::Outlier | Task::Cluster, Json::String(label)) => {
            Answer::Str(label.into())
        }
        (Task::Classifier | Task::Outlier | Task::Cluster, json) => Answer::Int(whole(&json)?),
        (Task::Transform, json) => Answer::Values(numbers(&json)?),
        (Task::Regressor, json @ Json::Array(_)) => Answer::Values(numbers(&json)?),
        (Task::Regressor, json) => Answer::Value(number(&json)?),
        (task, json) => bail!(InvalidInput, "{} is no answer of a {task}", kind(&json)),
    })
}

fn numbers(json: &Json) -> Result<Vec<f64>> {
    match json {
        Json::Array(items) => items.iter().map(number).collect(),
        other => Err(err!(InvalidInput, "expected a list of numbers, got {}", kind(other))),
    }
}

/// A number, or one of the three that JSON cannot spell.
fn number(json: &Json) -> Result<f64> {
    let special = |text: &str| match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    };
    let number = match json {
        Json::Number(n) => n.as_f64(),
        Json::Null => Some(f64::NAN),
        Json::Bool(b) => Some(f64::from(u8::from(*b))),
        Json::String(text) => special(text),
        _ => None,
    };
    number.ok_or_else(|| err!(InvalidInput, "expected a number, got {}", kind(json)))
}

fn kind(json: &Json) -> String {
    match json {
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(_) => "an object".to_string(),
        Json::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        other => other.to_string(),
    }
}

/// Nested lists as a tensor of element type `dtype`; where that is not known, strings when the
/// first entry is one, float64 otherwise.
fn tensor(json: &Json, dtype: Option<ElementType>) -> Result<Tensor> {
    let mut dims = Vec::new();
    let mut level = json;
    while let Json::Array(items) = level {
        ensure!(
            dims.len() < crate::limits::MAX_RANK,
            LimitExceeded,
            "lists nest deeper than {}",
            crate::limits::MAX_RANK
        );
        dims.push(items.len());
        match items.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    let special = |text: &str| matches!(text, "NaN" | "Infinity" | "-Infinity");
    let text = matches!(level, Json::String(text) if !special(text));
    let dtype = dtype.unwrap_or(if text { ElementType::String } else { ElementType::F64 });
    let shape = Shape::new(&dims)?;
    // No more entries than the line has bytes, whatever the lists pretend.
    let mut leaves = Vec::new();
    flatten(json, &dims, &mut leaves)?;
    let data = match dtype {
        ElementType::String => Data::String(read(&leaves, |j| match j {
            Json::String(text) => Ok(text.clone()),
            other => Err(err!(InvalidInput, "expected a string, got {}", kind(other))),
        })?),
        ElementType::I64 => Data::I64(read(&leaves, |j| whole(j, Json::as_i64, dtype))?),
        ElementType::U64 => Data::U64(read(&leaves, |j| whole(j, Json::as_u64, dtype))?),
        // Every other element type is exact in float64; bools are 0 and 1.
        _ => {
            let data = read(&leaves, number)?;
            if dtype.is_integer() {
                let outside = data.iter().find(|x| !fits(**x, dtype));
                if let Some(x) = outside {
                    bail!(InvalidInput, "{x} is no {dtype}");
                }
            }
            return convert(Tensor::new(shape, Data::F64(data))?, dtype);
        }
    };
    Tensor::new(shape, data)
}

fn whole<T>(json: &Json, read: fn(&Json) -> Option<T>, dtype: ElementType) -> Result<T> {
    read(json).ok_or_else(|| err!(InvalidInput, "expected an {dtype}, got {}", kind(json)))
}

fn fits(x: f64, dtype: ElementType) -> bool {
    let (low, high): (f64, f64) = match dtype {
        ElementType::I8 => (i8::MIN.into(), i8::MAX.into()),
        ElementType::I16 => (i16::MIN.into(), i16::MAX.into()),
        ElementType::I32 => (i32::MIN.into(), i32::MAX.into()),
        ElementType::U8 => (0.0, u8::MAX.into()),
        ElementType::U16 => (0.0, u16::MAX.into()),
        _ => (0.0, f64::from(u32::MAX)),
    };
    x.fract() == 0.0 && x >= low && x <= high
}

fn read<T>(leaves: &[&Json], read: impl Fn(&Json) -> Result<T>) -> Result<Vec<T>> {
    leaves.iter().map(|leaf| read(leaf)).collect()
}

fn flatten<'a>(json: &'a Json, dims: &[usize], leaves: &mut Vec<&'a Json>) -> Result<()> {
    match (json, dims) {
        (Json::Array(items), [n, rest @ ..]) => {
            ensure!(
                items.len() == *n,
                InvalidInput,
                "lists of unlike lengths: {n} and {}",
                items.len()
            );
            items.iter().try_for_each(|item| flatten(item, rest, leaves))
        }
        (Json::Array(_), []) => Err(err!(InvalidInput, "a list where others have a value")),
        (_, [_, ..]) => Err(err!(InvalidInput, "a value where others have a list")),
        (leaf, []) => {
            leaves.push(leaf);
            Ok(())
        }
    }
}
