//! Local functions: found by domain, name and overload, and expanded where they are called.

use super::opset::{self, Opsets};
use super::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::error::{Result, ensure};
use crate::problem::Problems;
use prost::Message;
use std::collections::HashMap;
use std::rc::Rc;

/// What a call names: domain, function, overload.
pub(super) type Key = (String, String, String);

/// A function of the file.
pub(super) struct Function {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) nodes: Vec<NodeProto>,
    /// Attributes with the values they have when a call leaves them out.
    pub(super) defaults: Vec<AttributeProto>,
    pub(super) opsets: Opsets,
    /// Bytes of the nodes in the file: what one expansion copies.
    pub(super) cost: u64,
}

/// The functions of a file.
pub(super) type Functions = HashMap<Key, Rc<Function>>;

/// What the nodes at hand are read with.
pub(super) struct Context<'c> {
    /// The opsets of the model or function.
    pub(super) opsets: &'c Opsets,
    /// In a function: the attributes of its call, which its nodes may refer to.
    pub(super) attributes: Option<&'c HashMap<String, AttributeProto>>,
}

/// All functions of a model. A function that imports no opset of its own uses the model's.
///
/// # Errors
/// `InvalidModel` for two functions of one name, an unnamed one, or opsets as
/// [`opset::read`] refuses.
pub(super) fn read(
    protos: Vec<FunctionProto>,
    model: &Opsets,
    problems: &mut Problems,
) -> Result<Functions> {
    let mut functions = Functions::new();
    for proto in protos {
        let added = add(proto, model, &mut functions, problems);
        problems.noted(added)?;
    }
    Ok(functions)
}

fn add(
    proto: FunctionProto,
    model: &Opsets,
    functions: &mut Functions,
    problems: &mut Problems,
) -> Result<()> {
    ensure!(!proto.name.is_empty(), InvalidModel, "a function without a name");
    let name = proto.name.clone();
    let key = (opset::normalized(proto.domain), proto.name, proto.overload);
    let mut opsets = problems.within(format_args!("function '{name}'"), |problems| {
        opset::read(proto.opset_import, problems)
    })?;
    if opsets.is_empty() {
        opsets.clone_from(model);
    }
    let function = Function {
        inputs: proto.input,
        outputs: proto.output,
        cost: proto.node.iter().map(|n| n.encoded_len() as u64).sum(),
        nodes: proto.node,
        defaults: proto.attribute_proto,
        opsets,
    };
    let twice = functions.insert(key, Rc::new(function)).is_some();
    ensure!(!twice, InvalidModel, "function '{name}' is defined more than once");
    Ok(())
}
