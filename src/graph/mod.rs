//! The graph: what every file format is read into, and what a plan is compiled from.
//!
//! A graph owns its values by number ([`ValueId`]); names are kept for people. Constants
//! (initializers) lie in the graph; a node refers to values only by number. A sub-graph (the body
//! of If, Loop or Scan) is a graph of its own that lists which outer values it captures.

mod types;
mod validate;

pub use types::{Dim, Missing, ValueType};
pub use validate::topological_order;

use crate::attribute::Attributes;
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// A value's number within its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value of a graph.
#[derive(Debug, Clone, Default)]
pub struct ValueInfo {
    /// Its name in the file.
    pub name: String,
    /// Its declared type: a hint, often wrong in real files.
    pub declared: Option<ValueType>,
    /// Its content, when it is a constant.
    pub constant: Option<Tensor>,
    /// What the file has of it and could not be read. A graph of which something is missing can
    /// be looked at, never run.
    pub missing: Option<Missing>,
}

/// One application of an operator.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The node's name in the file (may be empty).
    pub name: String,
    /// The operator, e.g. `MatMul`.
    pub op: String,
    /// The operator's domain; `""` is `ai.onnx`.
    pub domain: String,
    /// The opset version of that domain that the graph was written for.
    pub version: i64,
    /// Inputs in order; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs in order; `None` where one is not wanted.
    pub outputs: Vec<Option<ValueId>>,
    /// Plain attributes.
    pub attributes: Attributes,
    /// Graph-valued attributes by name (`body`, `then_branch`, `else_branch`).
    pub subgraphs: Vec<(String, Graph)>,
}

impl Node {
    /// The operator with its domain, e.g. `ai.onnx.ml:Scaler`.
    pub fn qualified_op(&self) -> String {
        if self.domain.is_empty() {
            self.op.clone()
        } else {
            format!("{}:{}", self.domain, self.op)
        }
    }

    /// Every value of the enclosing graph that the node reads: its inputs, then what its
    /// sub-graphs capture.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> + '_ {
        let captured = self.subgraphs.iter().flat_map(|(_, g)| g.captures.iter().map(|c| c.outer));
        self.inputs.iter().flatten().copied().chain(captured)
    }
}

/// A value that a sub-graph takes from the graph around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Its number inside the sub-graph.
    pub inner: ValueId,
    /// Its number in the enclosing graph.
    pub outer: ValueId,
}

/// A whole computation.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The graph's name in the file.
    pub name: String,
    /// All values, by [`ValueId`].
    pub values: Vec<ValueInfo>,
    /// The inputs a caller gives, in order (initializers with the name of an input excluded).
    pub inputs: Vec<ValueId>,
    /// The outputs a caller gets, in order.
    pub outputs: Vec<ValueId>,
    /// The nodes; [`topological_order`] says in which order they can run.
    pub nodes: Vec<Node>,
    /// For a sub-graph: what it takes from outside.
    pub captures: Vec<Capture>,
    /// What the file says of itself (`producer_name`, `doc_string`, metadata properties…).
    pub metadata: BTreeMap<String, String>,
    /// Opset version by domain (`""` is `ai.onnx`).
    pub opsets: BTreeMap<String, i64>,
}

impl Graph {
    /// Adds a value and returns its number.
    pub fn add_value(&mut self, name: impl Into<String>, declared: Option<ValueType>) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(ValueInfo { name: name.into(), declared, ..ValueInfo::default() });
        id
    }

    /// Adds a constant and returns its number.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let id = self.add_value(name, None);
        self.values[id.index()].constant = Some(tensor);
        id
    }

    /// The value of that number. Numbers come from this graph's own `add_value`.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.index()]
    }

    /// Bytes of all constants, sub-graphs included.
    pub fn weight_bytes(&self) -> u64 {
        let own: u64 =
            self.values.iter().filter_map(|v| v.constant.as_ref()).map(Tensor::byte_len).sum();
        let nested = self.nodes.iter().flat_map(|n| &n.subgraphs).map(|(_, g)| g.weight_bytes());
        own.saturating_add(nested.fold(0, u64::saturating_add))
    }
}
