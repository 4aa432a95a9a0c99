//! A model that answers its inputs.

use modelserve::{Error, ErrorKind, FnModel, Reply, Request, Signature, TensorSpec};

/// Its inputs, and its outputs, are these.
pub fn echo(specs: Vec<TensorSpec>) -> FnModel {
    let signature = Signature { inputs: specs.clone(), outputs: specs, ..Signature::default() };
    FnModel::new(signature, |request, _| match request {
        Request::Run { inputs, .. } => Ok(Reply::Tensors(inputs.clone())),
        _ => Err(Error::new(ErrorKind::InvalidInput, "no rows")),
    })
}
