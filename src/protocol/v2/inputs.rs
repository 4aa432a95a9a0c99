//! The inputs of an inference request: JSON, or bytes behind it.

use super::super::check_rows;
use super::super::fault::{Fault, Outcome};
use super::super::json::{Kind, Reader};
use super::parameters::{self, Parameters};
use super::request::{Key, key, text};
use super::{binary, datatype, element_type};
use crate::error::ErrorKind;
use crate::limits::MAX_RANK;
use crate::model::Signature;
use crate::tensor::{Data, ElementType, Shape, Tensor, Value, for_each_type};
use jiter::Peek;
use smallvec::SmallVec;

/// The inputs of a request as they are read.
pub(super) struct Inputs<'a> {
    model: &'a str,
    signature: &'a Signature,
    /// Binary tensors that no input has taken yet.
    blobs: &'a [u8],
    tensors: Vec<(String, Value)>,
}

impl<'a> Inputs<'a> {
    /// No inputs yet, and `blobs` for those that come in binary form.
    pub(super) fn new(model: &'a str, signature: &'a Signature, blobs: &'a [u8]) -> Inputs<'a> {
        Inputs { model, signature, blobs, tensors: Vec::new() }
    }

    /// Reads one input. Where its data stands before its shape and type, it is come back to.
    pub(super) fn one(&mut self, reader: &mut Reader<'_>, _: Peek) -> Outcome<()> {
        let (mut name, mut shape, mut dtype) = (None, None, None);
        let mut given = Parameters::default();
        let mut later = None;
        let mut tensor = None;
        let mut next = reader.object(key)?;
        while let Some(key) = next {
            let peek = reader.peek()?;
            let again = match key {
                Key::Name => name.is_some(),
                Key::Shape => shape.is_some(),
                Key::Datatype => dtype.is_some(),
                Key::Data => tensor.is_some() || later.is_some(),
                _ => false,
            };
            if again {
                return Err(Fault::bad("an input has 'name', 'shape', 'datatype' or 'data' twice"));
            }
            match key {
                Key::Name => name = Some(text(reader, peek, "name")?),
                Key::Shape => shape = Some(read_shape(reader, peek)?),
                Key::Datatype => dtype = Some(read_datatype(reader, peek)?),
                Key::Parameters => given = parameters::read(reader, peek)?,
                Key::Data => match (&shape, dtype) {
                    (Some(shape), Some(dtype)) => {
                        tensor = Some(read_data(reader, peek, shape, dtype)?);
                    }
                    _ => {
                        later = Some((reader.fork(), peek));
                        reader.skip(peek, 3)?;
                    }
                },
                _ => reader.skip(peek, 3)?,
            }
            next = reader.key(self::key)?;
        }
        let missing = |what: &str| Fault::bad(format!("an entry of 'inputs' has no '{what}'"));
        let name = name.ok_or_else(|| missing("name"))?;
        let shape: Shape = shape.ok_or_else(|| missing("shape"))?;
        let dtype = dtype.ok_or_else(|| missing("datatype"))?;
        self.check(&name, dtype)?;
        let of = |fault: Fault| {
            let message = format!("input '{name}': {}", fault.message());
            Fault::own(fault.kind(), message)
        };
        let tensor = match (given.binary_data_size, tensor, later) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err(Fault::bad(format!(
                    "input '{name}' has both 'data' and 'binary_data_size'"
                )));
            }
            (Some(size), None, None) => {
                let Some((bytes, rest)) = self.blobs.split_at_checked(size) else {
                    return Err(Fault::bad(format!(
                        "unexpected end of binary data: input '{name}' has {size} bytes, {} are \
                         left",
                        self.blobs.len()
                    )));
                };
                self.blobs = rest;
                binary::read(&name, dtype, shape, bytes, reader.limits.string_bytes)?
            }
            (None, Some(tensor), _) => tensor,
            (None, None, Some((mut reader, peek))) => {
                read_data(&mut reader, peek, &shape, dtype).map_err(of)?
            }
            (None, None, None) => return Err(missing("data")),
        };
        let by_rows =
            self.signature.inputs.iter().any(|i| i.name == name && i.batch_axis == Some(0));
        if let Some(rows) = tensor.dims().first().filter(|_| by_rows) {
            check_rows(*rows, reader.limits.rows)?;
        }
        self.tensors.push((name, tensor.into()));
        Ok(())
    }

    /// Whether the model has such an input, and it was not given yet.
    fn check(&self, name: &str, dtype: ElementType) -> Outcome<()> {
        let model = self.model;
        let Some(spec) = self.signature.inputs.iter().find(|input| input.name == name) else {
            let message = format!("unexpected inference input '{name}' for model '{model}'");
            return Err(Fault::bad(message));
        };
        if self.tensors.iter().any(|(given, _)| given == name) {
            return Err(Fault::bad(format!("input '{name}' is given twice for model '{model}'")));
        }
        match spec.dtype() {
            Some(expected) if expected != dtype => Err(Fault::bad(format!(
                "inference input '{name}' data-type is '{}', but model '{model}' expects '{}'",
                datatype(dtype),
                datatype(expected)
            ))),
            Some(_) => Ok(()),
            None => Err(Fault::own(
                ErrorKind::Unsupported,
                format!("input '{name}' of model '{model}' is no tensor"),
            )),
        }
    }

    /// The inputs, all of which have to be there, with nothing left over.
    pub(super) fn finish(self) -> Outcome<Vec<(String, Value)>> {
        let (got, expected) = (self.tensors.len(), self.signature.inputs.len());
        if got < expected {
            let missing = self.signature.inputs.iter().map(|input| input.name.as_str());
            let missing = missing.filter(|name| !self.tensors.iter().any(|(n, _)| n == name));
            let missing: Vec<String> = missing.map(|name| format!("'{name}'")).collect();
            return Err(Fault::bad(format!(
                "expected {expected} inputs but got {got} inputs for model '{}'. Missing: {}",
                self.model,
                missing.join(", ")
            )));
        }
        if !self.blobs.is_empty() {
            return Err(Fault::bad(format!(
                "unexpected additional input data for model '{}'",
                self.model
            )));
        }
        Ok(self.tensors)
    }
}

fn read_shape(reader: &mut Reader<'_>, peek: Peek) -> Outcome<Shape> {
    let wrong = || Fault::bad("Unable to parse 'shape': no list of sizes, 0 or more");
    if reader.kind(peek)? != Kind::Array {
        return Err(wrong());
    }
    let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
    let mut next = reader.array()?;
    while let Some(peek) = next {
        if reader.kind(peek)? != Kind::Number || dims.len() >= MAX_RANK {
            return Err(wrong());
        }
        dims.push(reader.number(peek)?.parse::<usize>().map_err(|_| wrong())?);
        next = reader.step()?;
    }
    Ok(Shape::new(&dims)?)
}

fn read_datatype(reader: &mut Reader<'_>, peek: Peek) -> Outcome<ElementType> {
    let name = text(reader, peek, "datatype")?;
    element_type(&name).ok_or_else(|| Fault::bad(format!("invalid datatype '{name}'")))
}

fn read_data(
    reader: &mut Reader<'_>,
    peek: Peek,
    shape: &Shape,
    dtype: ElementType,
) -> Outcome<Tensor> {
    if reader.kind(peek)? != Kind::Array {
        return Err(Fault::bad(
            "Unable to parse 'data': attempt to access JSON non-array as array",
        ));
    }
    let mut data = Data::zeros(dtype, 0);
    for_each_type!(&mut data, v => reader.flat(peek, 0, shape.len(), v))?;
    if data.len() != shape.len() {
        return Err(Fault::bad(format!(
            "Unable to parse 'data': Shape does not match true shape of 'data' field: shape \
             {shape} has {} elements, 'data' has {}",
            shape.len(),
            data.len()
        )));
    }
    Ok(Tensor::new(shape.clone(), data)?)
}
