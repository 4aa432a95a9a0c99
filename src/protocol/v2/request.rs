//! The JSON of an inference request, and the bytes behind it.

use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Limits, Reader};
use super::inputs::Inputs;
use super::{DIALECT, parameters};
use crate::model::Signature;
use crate::tensor::Value;
use jiter::Peek;
use std::time::Duration;

/// Most outputs that one request may list.
const MAX_OUTPUTS: usize = 4096;

/// An inference request.
#[derive(Debug, Default)]
pub(super) struct InferRequest {
    pub id: Option<String>,
    pub timeout: Option<Duration>,
    pub priority: i8,
    /// Whether outputs that do not say are answered in binary form.
    pub binary_output: bool,
    pub inputs: Vec<(String, Value)>,
    /// The outputs that are wanted; all when empty.
    pub outputs: Vec<OutputRequest>,
}

/// An output that is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct OutputRequest {
    pub name: String,
    pub binary: Option<bool>,
    /// How many of the highest classes, where classes are wanted.
    pub classes: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Id,
    Parameters,
    Inputs,
    Outputs,
    Name,
    Shape,
    Datatype,
    Data,
    Other,
}

pub(super) fn key(name: &str) -> Key {
    match name {
        "id" => Key::Id,
        "parameters" => Key::Parameters,
        "inputs" => Key::Inputs,
        "outputs" => Key::Outputs,
        "name" => Key::Name,
        "shape" => Key::Shape,
        "datatype" => Key::Datatype,
        "data" => Key::Data,
        _ => Key::Other,
    }
}

/// Reads a body of which the first `json_bytes` are JSON and the others binary tensors.
pub(super) fn read(
    body: &[u8],
    json_bytes: usize,
    model: &str,
    signature: &Signature,
    limits: Limits,
) -> Outcome<InferRequest> {
    let Some((json, blobs)) = body.split_at_checked(json_bytes) else {
        return Err(Fault::bad(format!(
            "Inference-Header-Content-Length is {json_bytes}, and the body has {} bytes",
            body.len()
        )));
    };
    let mut reader = Reader::new(json, DIALECT, limits);
    let mut inputs = Inputs::new(model, signature, blobs);
    let mut request = InferRequest::default();
    let mut complete = false;
    let peek = reader.peek()?;
    if reader.kind(peek)? != Kind::Object {
        reader.skip(peek, 0)?;
        return Err(Fault::bad("failed to parse the request JSON buffer: it is no object"));
    }
    let mut next = reader.object(key)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        match key {
            Key::Id => request.id = Some(text(&mut reader, peek, "id")?),
            Key::Parameters => {
                let given = parameters::read(&mut reader, peek)?;
                request.timeout = given.timeout.filter(|t| *t > 0).map(Duration::from_micros);
                request.priority = given.priority.map_or(0, parameters::priority);
                request.binary_output = given.binary_data_output.unwrap_or(false);
            }
            Key::Inputs => {
                if complete {
                    return Err(Fault::bad("'inputs' is given twice"));
                }
                complete = true;
                each(&mut reader, peek, "inputs", |reader, peek| inputs.one(reader, peek))?;
            }
            Key::Outputs => {
                request.outputs.clear();
                each(&mut reader, peek, "outputs", |reader, peek| {
                    let output = output(reader, peek)?;
                    if request.outputs.len() >= MAX_OUTPUTS {
                        return Err(Fault::bad(format!("more than {MAX_OUTPUTS} outputs")));
                    }
                    request.outputs.push(output);
                    Ok(())
                })?;
            }
            _ => reader.skip(peek, 1)?,
        }
        next = reader.key(self::key)?;
    }
    reader.finish()?;
    if !complete {
        return Err(Fault::bad("Unable to parse 'inputs': attempt to access non-existing array"));
    }
    request.inputs = inputs.finish()?;
    check_outputs(&request.outputs, model, signature)?;
    Ok(request)
}

fn check_outputs(wanted: &[OutputRequest], model: &str, signature: &Signature) -> Outcome<()> {
    for (i, output) in wanted.iter().enumerate() {
        let name = &output.name;
        if !signature.outputs.iter().any(|o| o.name == *name) {
            let message = format!("unexpected inference output '{name}' for model '{model}'");
            return Err(Fault::bad(message));
        }
        if wanted.iter().take(i).any(|other| other.name == *name) {
            return Err(Fault::bad(format!("output '{name}' is asked for twice")));
        }
    }
    Ok(())
}

/// Calls `one` with each entry of a list.
fn each(
    reader: &mut Reader<'_>,
    peek: Peek,
    name: &str,
    mut one: impl FnMut(&mut Reader<'_>, Peek) -> Outcome<()>,
) -> Outcome<()> {
    if reader.kind(peek)? != Kind::Array {
        return Err(Fault::bad(format!(
            "Unable to parse '{name}': attempt to access JSON non-array as array"
        )));
    }
    let mut next = reader.array()?;
    while let Some(peek) = next {
        if reader.kind(peek)? != Kind::Object {
            return Err(Fault::bad(format!("an entry of '{name}' is no JSON object")));
        }
        one(reader, peek)?;
        next = reader.step()?;
    }
    Ok(())
}

pub(super) fn text(reader: &mut Reader<'_>, peek: Peek, name: &str) -> Outcome<String> {
    match reader.kind(peek)? {
        Kind::String => reader.text(str::to_string),
        _ => Err(Fault::bad(format!(
            "Unable to parse '{name}': attempt to access JSON non-string as string"
        ))),
    }
}

fn output(reader: &mut Reader<'_>, _: Peek) -> Outcome<OutputRequest> {
    let mut output = OutputRequest::default();
    let mut named = false;
    let mut next = reader.object(key)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        match key {
            Key::Name => {
                output.name = text(reader, peek, "name")?;
                named = true;
            }
            Key::Parameters => {
                let given = parameters::read(reader, peek)?;
                output.binary = given.binary_data;
                output.classes = given.classification.filter(|n| *n > 0);
            }
            _ => reader.skip(peek, 3)?,
        }
        next = reader.key(self::key)?;
    }
    match named {
        true => Ok(output),
        false => Err(Fault::bad("an entry of 'outputs' has no 'name'")),
    }
}
