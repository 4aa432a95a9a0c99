//! Control flow: If, Loop, Scan and SequenceMap as kernels over nested plans.
//!
//! A body's captured values become further inputs of the node's step, after its own; what is
//! constant outside becomes a constant of the body, so that it is folded and packed there too.

mod batched;
mod branch;
mod loops;
mod map;
mod scan;
mod stack;
#[cfg(test)]
mod tests;

use super::Plan;
use super::compile::{CompileOptions, compile_nested};
use super::fold::Known;
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Graph, Node, ValueId, ValueType};
use crate::kernel::{Context, Inputs, Kernel};
use crate::problem::Problems;
use crate::tensor::Value;
use smallvec::SmallVec;

/// A prepared control-flow node.
pub(super) struct Control {
    pub kernel: Box<dyn Kernel>,
    /// Values of the enclosing graph that the step takes after the node's own inputs.
    pub captures: Vec<ValueId>,
}

/// The operators with sub-graphs.
pub(super) const OPERATORS: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];

/// Whether the operator has sub-graphs and is one of ours.
pub(super) fn supports(domain: &str, op: &str) -> bool {
    domain.is_empty() && OPERATORS.contains(&op)
}

/// Prepares a node with sub-graphs; what is wrong with their nodes is noted.
pub(super) fn prepare(
    node: &Node,
    subgraphs: Vec<(String, Graph)>,
    known: &Known,
    options: CompileOptions<'_>,
    depth: usize,
    problems: &mut Problems,
) -> Result<Control> {
    let mut captures = Vec::new();
    let mut bodies: Vec<(String, Body)> = Vec::new();
    for (name, mut graph) in subgraphs {
        let mut outer = Vec::new();
        for capture in std::mem::take(&mut graph.captures) {
            match &known[capture.outer.index()] {
                Some(Value::Tensor(t)) => {
                    graph.values[capture.inner.index()].constant = Some(t.clone())
                }
                _ => {
                    outer.push(capture.outer);
                    graph.captures.push(capture);
                }
            }
        }
        let first = node.inputs.len() + captures.len();
        let declared = graph.outputs.iter().map(|&id| graph.value(id).declared.clone()).collect();
        let plan = problems.within(format_args!("sub-graph '{name}'"), |problems| {
            compile_nested(graph, options, depth + 1, problems)
        })?;
        bodies.push((name, Body { plan, declared, captures: first..first + outer.len() }));
        captures.extend(outer);
    }
    let mut take = |name: &str| -> Result<Body> {
        match bodies.iter().position(|(n, _)| n == name) {
            Some(i) => Ok(bodies.swap_remove(i).1),
            None => bail!(InvalidModel, "{} without the attribute '{name}'", node.op),
        }
    };
    let kernel: Box<dyn Kernel> = match node.op.as_str() {
        "If" => Box::new(branch::If::new(take("then_branch")?, take("else_branch")?, node)?),
        "Loop" => Box::new(loops::Loop::new(take("body")?, node)?),
        "Scan" if node.version < 9 => Box::new(batched::Scan::new(take("body")?, node)?),
        "Scan" => Box::new(scan::Scan::new(take("body")?, node)?),
        "SequenceMap" => {
            ensure!(node.version >= 17, InvalidModel, "SequenceMap exists from opset 17");
            Box::new(map::SequenceMap::new(take("body")?, node)?)
        }
        other => bail!(Unsupported, "operator {other} with sub-graphs"),
    };
    Ok(Control { kernel, captures })
}

/// A compiled sub-graph and where its captured values stand among the step's inputs.
struct Body {
    plan: Plan,
    /// What the file says of its outputs.
    declared: Vec<Option<ValueType>>,
    captures: std::ops::Range<usize>,
}

impl Body {
    /// How many values the body itself is given (captures excluded).
    fn own_inputs(&self) -> usize {
        self.plan.input_count() - self.captures.len()
    }

    /// What the file says of output `i`.
    fn declared(&self, i: usize) -> Option<&ValueType> {
        self.declared.get(i)?.as_ref()
    }

    /// The captured values of this run, shared.
    fn captured(&self, inputs: &Inputs<'_>) -> Result<SmallVec<[Value; 4]>> {
        self.captures
            .clone()
            .map(|i| {
                inputs
                    .get(i)
                    .cloned()
                    .ok_or_else(|| err!(Internal, "captured value {i} is missing"))
            })
            .collect()
    }

    /// Runs the body once.
    fn run(
        &self,
        ctx: &mut Context<'_>,
        own: impl IntoIterator<Item = Value>,
        captured: &[Value],
    ) -> Result<Vec<Value>> {
        let inputs = own.into_iter().chain(captured.iter().cloned()).collect();
        self.plan.execute(ctx, inputs, &[])
    }
}

/// A one-element bool tensor's value.
fn condition(value: &Value) -> Result<bool> {
    let tensor = value.as_tensor()?;
    match tensor.as_slice::<bool>()? {
        [c] => Ok(*c),
        _ => {
            Err(err!(InvalidInput, "a condition of shape {}, expected one element", tensor.shape()))
        }
    }
}
