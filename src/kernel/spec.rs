//! What a kernel is prepared from.

use crate::attribute::Attributes;
use crate::error::{Error, Result, ensure, err};
use crate::limits::LoadLimits;
use crate::tensor::{Tensor, Value};

/// What is known of one input before the first run.
#[derive(Debug, Clone, Copy, Default)]
pub struct InputSpec<'a> {
    /// Whether the node has this input at all.
    pub present: bool,
    /// Its value, where it is constant: pack it now.
    pub constant: Option<&'a Value>,
}

/// A node as a kernel sees it.
#[derive(Debug, Clone, Copy)]
pub struct OpSpec<'a> {
    /// The operator's name.
    pub op: &'a str,
    /// The operator's domain (`""` is `ai.onnx`).
    pub domain: &'a str,
    /// The opset version of that domain.
    pub version: i64,
    /// The node's name, for messages.
    pub node: &'a str,
    /// The node's plain attributes.
    pub attributes: &'a Attributes,
    /// The inputs in order.
    pub inputs: &'a [InputSpec<'a>],
    /// For each output whether somebody reads it.
    pub outputs: &'a [bool],
    /// What loading may cost.
    pub limits: &'a LoadLimits,
}

impl<'a> OpSpec<'a> {
    /// Whether input `i` is there.
    pub fn has_input(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|s| s.present)
    }

    /// Input `i` where it is a constant tensor.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        match self.inputs.get(i)?.constant? {
            Value::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// Whether somebody reads output `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.outputs.get(i).copied().unwrap_or(false)
    }

    /// Refuses a node with another number of inputs than `range` (left-out trailing ones are
    /// not counted).
    ///
    /// # Errors
    /// `InvalidModel`, naming the operator.
    pub fn arity(&self, range: std::ops::RangeInclusive<usize>) -> Result<()> {
        let n = self.inputs.iter().rposition(|i| i.present).map_or(0, |i| i + 1);
        ensure!(
            range.contains(&n),
            InvalidModel,
            "{} takes {} to {} inputs, got {n}",
            self.op,
            range.start(),
            range.end()
        );
        for i in 0..*range.start() {
            ensure!(self.has_input(i), InvalidModel, "{}: input {i} is missing", self.op);
        }
        Ok(())
    }

    /// An `Unsupported` error about this node.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        err!(Unsupported, "{}: {what}", self.op)
    }

    /// An `InvalidModel` error about this node.
    pub fn invalid(&self, what: impl std::fmt::Display) -> Error {
        err!(InvalidModel, "{}: {what}", self.op)
    }
}
