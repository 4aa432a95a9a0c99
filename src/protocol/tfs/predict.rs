//! `:predict`: rows or columns of named tensors in, named tensors out.
//!
//! The body is read once, straight into the tensors. What the original finds in its parsed
//! document before it looks at values (syntax, a signature that is no string, both forms at once)
//! is looked for afterwards, and only where something was wrong: its errors go first.

use super::super::ask::Asked;
use super::super::ask::{Ask, Question, Step};
use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Limits, Reader};
use super::answer::{Form, outputs_json};
use super::tensors::{Named, columns, instances};
use super::{DIALECT, check_signature};
use crate::model::{Ctx, Reply, Request, TensorSpec};
use jiter::Peek;

pub(super) fn predict(asked: &Asked<'_>) -> Outcome<Step> {
    let (body, limits) = (asked.request.body, asked.http.limits());
    let lease = asked.lease().or_else(|missing| {
        survey(body, limits)?;
        Err(missing)
    })?;
    let signature = lease.signature()?;
    let (form, inputs) = read(body, &signature.inputs, limits).or_else(|fault| {
        // The whole document's faults go before those of a value.
        let seen = survey(body, limits)?;
        check_signature(seen.signature.as_deref())?;
        if seen.instances && seen.inputs {
            return Err(both(body, limits));
        }
        Err(fault)
    })?;
    let request = Request::Run { inputs, outputs: [].into() };
    let finish = move |reply: Reply, _: &Ctx| outputs_json(form, reply.into_tensors()?);
    Ok(Step::Ask(Box::new(Ask {
        handle: asked.handle()?,
        question: Question::Other(request),
        ctx: asked.http.context(asked.request, asked.target.clone()),
        dialect: DIALECT,
        finish: Box::new(finish),
    })))
}

/// The keys of a body that mean something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Signature,
    Instances,
    Inputs,
    Context,
    Examples,
    Other,
}

pub(super) fn key(name: &str) -> Key {
    match name {
        "signature_name" => Key::Signature,
        "instances" => Key::Instances,
        "inputs" => Key::Inputs,
        "context" => Key::Context,
        "examples" => Key::Examples,
        _ => Key::Other,
    }
}

/// What the outermost level of a body holds.
#[derive(Default)]
pub(super) struct Survey {
    pub signature: Option<String>,
    pub instances: bool,
    pub inputs: bool,
}

/// Looks at a whole body, keeping nothing of it.
pub(super) fn survey(body: &[u8], limits: Limits) -> Outcome<Survey> {
    let (mut reader, peek) = open(body, limits)?;
    let mut seen = Survey::default();
    let mut wrong = None;
    let mut next = reader.object(key)?;
    while let Some(key) = next {
        let value = reader.peek()?;
        match key {
            Key::Signature if seen.signature.is_none() && wrong.is_none() => {
                if reader.kind(value)? == Kind::String {
                    seen.signature = Some(reader.text(str::to_string)?);
                } else {
                    reader.skip(value, 1)?;
                    wrong = Some(());
                }
            }
            key => {
                seen.instances |= key == Key::Instances;
                seen.inputs |= key == Key::Inputs;
                reader.skip(value, 1)?;
            }
        }
        next = reader.key(self::key)?;
    }
    if wrong.is_some() {
        let why = "not formatted correctly. 'signature_name' key must be a string value.";
        return Err(of_document(body, limits, peek, why));
    }
    Ok(seen)
}

/// A reader at the body's object. Whatever follows it is not looked at.
pub(super) fn open(body: &[u8], limits: Limits) -> Outcome<(Reader<'_>, Peek)> {
    if body.is_empty() {
        return Err(Fault::bad("JSON Parse error: The document is empty"));
    }
    let mut reader = Reader::new(body, DIALECT, limits);
    let peek = reader.peek()?;
    if reader.kind(peek)? != Kind::Object {
        let quoted = reader.quote(peek);
        reader.skip(peek, 0)?;
        return Err(Fault::bad(format!("JSON Value: {quoted} Is not object")));
    }
    Ok((reader, peek))
}

/// A fault of the document as a whole.
pub(super) fn of_document(body: &[u8], limits: Limits, peek: Peek, why: &str) -> Fault {
    let mut reader = Reader::new(body, DIALECT, limits);
    // Passes the white space in front.
    let _ = reader.peek();
    Fault::bad(format!("JSON Value: {} {why}", reader.quote(peek)))
}

fn both(body: &[u8], limits: Limits) -> Fault {
    let why =
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ";
    of_document(body, limits, Peek::Object, why)
}

/// Reads a body: its form and its tensors. Of several equal keys the first counts.
fn read(body: &[u8], specs: &[TensorSpec], limits: Limits) -> Outcome<(Form, Named)> {
    let (mut reader, document) = open(body, limits)?;
    let mut found: Option<(Form, Named)> = None;
    let mut signature = None;
    let mut next = reader.object(key)?;
    while let Some(key) = next {
        let peek = reader.peek()?;
        match key {
            Key::Signature if signature.is_none() && reader.kind(peek)? == Kind::String => {
                signature = Some(reader.text(str::to_string)?);
            }
            Key::Signature if signature.is_none() => {
                let why = "not formatted correctly. 'signature_name' key must be a string value.";
                return Err(of_document(body, limits, document, why));
            }
            Key::Instances | Key::Inputs => {
                let form = if key == Key::Instances { Form::Row } else { Form::Column };
                match &found {
                    Some((other, _)) if *other != form => return Err(both(body, limits)),
                    Some(_) => reader.skip(peek, 1)?,
                    None if form == Form::Row => {
                        let whole = |why: &str| of_document(body, limits, document, why);
                        found = Some((form, instances(&mut reader, peek, specs, &whole)?));
                    }
                    None => found = Some((form, columns(&mut reader, peek, specs)?)),
                }
            }
            _ => reader.skip(peek, 1)?,
        }
        next = reader.key(self::key)?;
    }
    check_signature(signature.as_deref())?;
    found.ok_or_else(|| Fault::bad("Missing 'inputs' or 'instances' key"))
}
