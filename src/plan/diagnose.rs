//! What is wrong with a graph, found while it is compiled: all of it, not the first.

use super::control;
use super::fold::Known;
use crate::error::{Result, bail};
use crate::graph::{Graph, Missing, Node, ValueId};
use crate::kernel::{Context, Inputs, Kernel, Outputs, registry};
use crate::problem::{At, Problems};

/// Whether the operator is implemented, in any version.
pub fn implements(domain: &str, op: &str) -> bool {
    registry::supports(domain, op) || control::supports(domain, op)
}

/// In the place of a kernel that could not be prepared, so that the other nodes can be looked at.
/// A plan that holds one is never handed out.
pub(super) struct Refused;

impl Kernel for Refused {
    fn run(&self, _: &mut Context<'_>, _: &mut Inputs<'_>) -> Result<Outputs> {
        bail!(Internal, "a node that was refused is run")
    }
}

/// Notes every node whose operator is not implemented, bodies included.
pub(super) fn note_missing(graph: &Graph, problems: &mut Problems) {
    for node in &graph.nodes {
        if !implements(&node.domain, &node.op) {
            noted_at(graph, node, |at| problems.add_missing(at));
        }
        for (_, body) in &node.subgraphs {
            note_missing(body, problems);
        }
    }
}

/// Tells `note` where the node is.
pub(super) fn noted_at(graph: &Graph, node: &Node, note: impl FnOnce(At<'_>)) {
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    let output = node.outputs.iter().flatten().next().and_then(|id| graph.values.get(id.index()));
    note(At {
        operator: &format!("{domain}:{}", node.op),
        opset: Some(node.version),
        node: &node.name,
        output: output.map_or("", |value| &value.name),
    });
}

/// Whether the value is a constant that could not be read. A node that reads one is not prepared:
/// what is wrong with it may be no more than that.
pub(super) fn lost(graph: &Graph, id: ValueId) -> bool {
    graph.values.get(id.index()).is_some_and(|value| value.missing == Some(Missing::Content))
}

/// What would be a constant, were its inputs there, is lost with them.
pub(super) fn spread_lost(graph: &mut Graph, order: &[usize], known: &Known) {
    if !graph.values.iter().any(|value| value.missing == Some(Missing::Content)) {
        return;
    }
    for &k in order {
        let Some(node) = graph.nodes.get(k) else { continue };
        let mut inputs = node.inputs.iter().flatten();
        let constant = |id: &ValueId| known.get(id.index()).is_some_and(Option::is_some);
        let spreads = node.subgraphs.is_empty()
            && inputs.clone().any(|id| lost(graph, *id))
            && inputs.all(|id| constant(id) || lost(graph, *id));
        if !spreads {
            continue;
        }
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        for id in outputs {
            if let Some(value) = graph.values.get_mut(id.index()) {
                value.missing = Some(Missing::Content);
            }
        }
    }
}

/// What a body captures is lost where it is lost outside.
pub(super) fn pass_on(graph: &Graph, bodies: &mut [(String, Graph)]) {
    for (_, body) in bodies {
        for capture in &body.captures {
            if lost(graph, capture.outer)
                && let Some(value) = body.values.get_mut(capture.inner.index())
            {
                value.missing = Some(Missing::Content);
            }
        }
    }
}
