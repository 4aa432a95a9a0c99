//! `:classify` and `:regress`: rows as lists of named features.

use super::super::ask::Asked;
use super::super::ask::{Ask, Question, Step};
use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Limits, Reader, base64_decode};
use super::super::{HttpResponse, check_rows};
use super::predict::{Key, key, of_document, open, survey};
use super::results::{classifications, regressions};
use super::{DIALECT, check_signature};
use crate::error::ErrorKind;
use crate::graph::{Dim, ValueType};
use crate::limits::RequestLimits;
use crate::model::{Ctx, Features, Predictions, Reply, Request, Signature, Task};
use crate::tensor::{Data, Shape, Tensor};
use jiter::Peek;
use std::collections::{BTreeMap, HashMap};

pub(super) fn classify(asked: &Asked<'_>) -> Outcome<Step> {
    ask(asked, "classify", Task::Classifier, classifications)
}

pub(super) fn regress(asked: &Asked<'_>) -> Outcome<Step> {
    ask(asked, "regress", Task::Regressor, regressions)
}

fn ask(
    asked: &Asked<'_>,
    method: &str,
    task: Task,
    write: fn(&Predictions) -> Outcome<Vec<u8>>,
) -> Outcome<Step> {
    let (body, limits) = (asked.request.body, asked.http.limits());
    let lease = asked.lease().or_else(|missing| {
        survey(body, limits)?;
        Err(missing)
    })?;
    let signature = lease.signature()?;
    let known = Known::of(&signature);
    let examples = read(body, limits, &known).or_else(|fault| {
        survey(body, limits)?;
        Err(fault)
    })?;
    check_signature(examples.signature.as_deref())?;
    if signature.task != task {
        return Err(Fault::bad(format!(
            "Expected {method} signature method_name to be tensorflow/serving/{method}. Was: \
             tensorflow/serving/predict (the model is a {})",
            signature.task
        )));
    }
    let columns = examples.columns(&signature, &known)?;
    let finish =
        move |reply: Reply, _: &Ctx| Ok(HttpResponse::json_text(200, write(&reply.into_batch()?)?));
    Ok(Step::Ask(Box::new(Ask {
        handle: asked.handle()?,
        question: Question::Other(Request::Batch(Features::Columns(columns))),
        ctx: asked.http.context(asked.request, asked.target.clone()),
        dialect: DIALECT,
        finish: Box::new(finish),
    })))
}

/// The values of one feature of one example.
#[derive(Debug, Clone, PartialEq)]
enum Feature {
    /// An empty list, which can be of any kind.
    Nothing,
    Floats(Vec<f64>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Feature {
    fn len(&self) -> usize {
        match self {
            Feature::Nothing => 0,
            Feature::Floats(v) => v.len(),
            Feature::Ints(v) => v.len(),
            Feature::Texts(v) => v.len(),
        }
    }

    /// What it takes in a tensor.
    fn bytes(&self) -> u64 {
        match self {
            Feature::Texts(v) => v.iter().map(|text| text.len() as u64 + 24).sum(),
            numbers => numbers.len() as u64 * 8,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Feature::Nothing => "UNKNOWN",
            Feature::Floats(_) => "float",
            Feature::Ints(_) => "int64",
            Feature::Texts(_) => "bytes",
        }
    }
}

/// The features of an example that the model knows, by their places among the known names.
type Example = BTreeMap<usize, Feature>;

/// What a feature may be called: an input, or a feature of the one wide input.
struct Known {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Known {
    fn of(signature: &Signature) -> Known {
        let inputs = signature.inputs.iter().map(|input| input.name.clone());
        let wide = signature.feature_names.iter().filter(|_| signature.inputs.len() == 1);
        let names: Vec<String> = inputs.chain(wide.flatten().cloned()).collect();
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            places.entry(name.clone()).or_insert(place);
        }
        Known { names, places }
    }

    /// How many values an example has for a feature, where the signature says so.
    fn width(&self, place: usize, signature: &Signature) -> Option<usize> {
        let Some(input) = signature.inputs.get(place) else { return Some(1) };
        let ValueType::Tensor { dims: Some(dims), .. } = input.ty.as_ref()? else { return None };
        let mut width = 1usize;
        for dim in dims.get(1..)? {
            let Dim::Fixed(size) = dim else { return None };
            width = width.saturating_mul(*size);
        }
        Some(width)
    }
}

#[derive(Default)]
struct Examples {
    signature: Option<String>,
    /// Features that all examples share.
    context: Example,
    rows: Vec<Example>,
}

fn read(body: &[u8], limits: Limits, known: &Known) -> Outcome<Examples> {
    let (mut reader, document) = open(body, limits)?;
    let mut all = Examples::default();
    let (mut context, mut given) = (false, false);
    let whole = |why: &str| of_document(body, limits, document, why);
    let mut next = reader.object(key)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        match key {
            Key::Signature if all.signature.is_none() => {
                if reader.kind(peek)? != Kind::String {
                    // Said by the survey of the whole.
                    return Err(Fault::bad("'signature_name' key must be a string value."));
                }
                all.signature = Some(reader.text(str::to_string)?);
            }
            Key::Context if !context => {
                context = true;
                all.context = example(&mut reader, peek, known)?;
            }
            Key::Examples if !given => {
                given = true;
                if reader.kind(peek)? != Kind::Array {
                    return Err(whole("Expecting 'examples' value to be an list/array"));
                }
                let mut entry = reader.array()?;
                while let Some(peek) = entry {
                    check_rows(all.rows.len() + 1, limits.rows)?;
                    all.rows.push(example(&mut reader, peek, known)?);
                    entry = reader.step()?;
                }
                if all.rows.is_empty() {
                    return Err(whole("'examples' value is an empty array"));
                }
            }
            _ => reader.skip(peek, 1)?,
        }
        next = reader.key(self::key)?;
    }
    if !given {
        let why = "When method is classify, key 'examples' is expected and was not found";
        return Err(whole(why));
    }
    Ok(all)
}

/// Reads an example. Features that the model does not know are checked and forgotten.
fn example(reader: &mut Reader<'_>, peek: Peek, known: &Known) -> Outcome<Example> {
    if reader.kind(peek)? != Kind::Object {
        return Err(Fault::bad(format!(
            "Example must be JSON object but got JSON {}",
            Reader::type_name(peek)
        )));
    }
    let mut example = Example::new();
    let place = |key: &str| known.places.get(key).copied().ok_or_else(|| key.to_string());
    let mut next = reader.object(place)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        let mut feature = Feature::Nothing;
        let name = match &key {
            Ok(place) => known.names.get(*place).map_or("", String::as_str),
            Err(name) => name,
        };
        if reader.kind(peek)? == Kind::Array {
            let mut value = reader.array()?;
            while let Some(peek) = value {
                add(reader, peek, name, &mut feature)?;
                value = reader.step()?;
            }
        } else {
            add(reader, peek, name, &mut feature)?;
        }
        if let Ok(place) = key {
            // Of several equal names the last counts, as in protobuf's maps.
            example.insert(place, feature);
        }
        next = reader.key(place)?;
    }
    Ok(example)
}

fn find(example: &Example, place: usize) -> Option<&Feature> {
    example.get(&place).filter(|feature| feature.len() > 0)
}

/// Adds one value to a feature, all of whose values are of one kind.
fn add(reader: &mut Reader<'_>, peek: Peek, name: &str, feature: &mut Feature) -> Outcome<()> {
    let unexpected = || {
        Fault::bad(format!(
            "Feature: {name} has element with unexpected JSON type: {}",
            Reader::type_name(peek)
        ))
    };
    let value = match reader.kind(peek)? {
        Kind::Null | Kind::Array => return Err(unexpected()),
        Kind::Bool => Feature::Ints(vec![i64::from(reader.bool(peek)?)]),
        Kind::String => Feature::Texts(vec![reader.text(str::to_string)?]),
        Kind::Object => {
            let encoded = reader.base64_object()?.ok_or_else(unexpected)?;
            let bytes = base64_decode(&encoded);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            Feature::Texts(vec![text.ok_or_else(|| Fault::bad("Unable to base64 decode"))?])
        }
        Kind::Number => {
            let mut ahead = reader.fork();
            let text = ahead.number(peek)?;
            if text.contains(['.', 'e', 'E', 'N', 'I']) {
                Feature::Floats(vec![reader.float(peek)?])
            } else {
                let value = text.parse::<i64>().map_err(|_| match text.parse::<u64>() {
                    Ok(_) => Fault::bad(format!(
                        "Feature: {name} has uint64 element. Only int64 is supported."
                    )),
                    Err(_) => unexpected(),
                })?;
                reader.number(peek)?;
                Feature::Ints(vec![value])
            }
        }
    };
    match (&mut *feature, value) {
        (nothing @ Feature::Nothing, value) => *nothing = value,
        (Feature::Floats(all), Feature::Floats(one)) => all.extend(one),
        (Feature::Ints(all), Feature::Ints(one)) => all.extend(one),
        (Feature::Texts(all), Feature::Texts(one)) => all.extend(one),
        (known, _) => {
            return Err(Fault::bad(format!(
                "Unexpected element type in feature: {name} expecting type: {}",
                known.kind()
            )));
        }
    }
    Ok(())
}

fn uneven(name: &str, got: usize, expected: usize, of: &str) -> Fault {
    Fault::bad(format!(
        "Key: {name}. Number of values != expected. Values size: {got} but expected: {expected} \
         ({of})"
    ))
}

impl Examples {
    /// A column for each feature that the model wants: its inputs by name, or the features of its
    /// one wide input.
    fn columns(self, signature: &Signature, known: &Known) -> Outcome<Vec<(String, Tensor)>> {
        let inputs = signature.inputs.len();
        let mut examples = self.rows.iter().chain([&self.context]);
        // The first place is the smallest.
        let by_input = examples.any(|row| row.keys().next().is_some_and(|place| *place < inputs));
        let wide = known.names.len() > inputs && !by_input;
        let wanted = known.names.iter().enumerate();
        let wanted = wanted.filter(|(place, _)| (*place >= inputs) == wide);
        for (place, name) in wanted.clone() {
            let width = known.width(place, signature);
            match (width, find(&self.context, place)) {
                (Some(width), Some(shared)) if shared.len() != width => {
                    return Err(uneven(name, shared.len(), width, "context"));
                }
                _ => {}
            }
        }
        self.check_size()?;
        wanted.map(|(place, name)| Ok((name.clone(), self.column(place, name)?))).collect()
    }

    /// A context counts once for every example: a short text could ask for much memory.
    fn check_size(&self) -> Outcome<()> {
        let most = RequestLimits::default().request_bytes;
        let sum = |row: &Example| row.values().map(Feature::bytes).fold(0, u64::saturating_add);
        let shared = sum(&self.context).saturating_mul(self.rows.len() as u64);
        let bytes = self.rows.iter().map(sum).fold(shared, u64::saturating_add);
        if bytes <= most {
            return Ok(());
        }
        let message = format!("examples of {bytes} bytes, context included (at most {most})");
        Err(Fault::own(ErrorKind::LimitExceeded, message))
    }

    fn column(&self, place: usize, name: &str) -> Outcome<Tensor> {
        let mut width = None;
        let (mut floats, mut ints, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let is_float = |row: &Example| matches!(row.get(&place), Some(Feature::Floats(_)));
        let float = self.rows.iter().chain([&self.context]).any(is_float);
        for (i, row) in self.rows.iter().enumerate() {
            // An example's own features go before the context's.
            let Some(feature) = find(row, place).or_else(|| find(&self.context, place)) else {
                return Err(Fault::bad(format!(
                    "Name: <unknown>, Feature: {name} is required but could not be found. \
                     (example {i})"
                )));
            };
            let expected = *width.get_or_insert(feature.len());
            if feature.len() != expected {
                return Err(uneven(name, feature.len(), expected, &format!("example {i}")));
            }
            match feature {
                Feature::Nothing => {}
                Feature::Floats(v) => floats.extend_from_slice(v),
                Feature::Ints(v) if float => floats.extend(v.iter().map(|&x| x as f64)),
                Feature::Ints(v) => ints.extend_from_slice(v),
                Feature::Texts(v) => texts.extend_from_slice(v),
            }
        }
        let mixed = !texts.is_empty() && floats.len() + ints.len() > 0;
        if mixed {
            return Err(Fault::bad(format!(
                "Key: {name}. Data types don't match: bytes and numbers"
            )));
        }
        let data = match (texts.is_empty(), float) {
            (false, _) => Data::String(texts),
            (true, true) => Data::F64(floats),
            (true, false) => Data::I64(ints),
        };
        let shape = Shape::new(&[self.rows.len(), width.unwrap_or(0)])?;
        Ok(Tensor::new(shape, data)?)
    }
}
