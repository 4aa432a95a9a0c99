//! Constant folding, within a budget.

use super::compile::{CompileOptions, prepare};
use crate::graph::Graph;
use crate::kernel::{Arena, Arg, Context, Inputs};
use crate::limits::RequestLimits;
use crate::tensor::Value;
use crate::threads::Threads;

/// What is known before the first run, by value number.
pub(super) type Known = Vec<Option<Value>>;

/// Runs every needed node whose inputs are all known, as long as the results stay within the
/// folding budget. A node that draws random numbers is left alone; one that fails here is left to
/// fail, if it ever runs, at run time.
pub(super) fn fold_constants(
    graph: &Graph,
    order: &[usize],
    needed: &[bool],
    known: &mut Known,
    options: CompileOptions<'_>,
) {
    let limits = options.limits;
    let threads = Threads::new(1);
    let request =
        RequestLimits { run_bytes: limits.folded_constant_bytes, ..RequestLimits::default() };
    let mut arena = Arena::default();
    let mut budget = limits.folded_total_bytes;
    for &k in order.iter().filter(|&&k| needed[k]) {
        let node = &graph.nodes[k];
        let constant = node.inputs.iter().flatten().all(|id| known[id.index()].is_some());
        if !constant || !node.subgraphs.is_empty() {
            continue;
        }
        let wanted = vec![true; node.outputs.len()];
        // What is wrong with the node is told when it is prepared for running.
        let Ok(kernel) = prepare(node, known, &wanted, options) else { continue };
        if kernel.is_random() {
            continue;
        }
        let args = node
            .inputs
            .iter()
            .map(|id| match id.and_then(|id| known[id.index()].as_ref()) {
                Some(value) => Arg::Borrowed(value),
                None => Arg::Absent,
            })
            .collect();
        let mut ctx = Context {
            threads: &threads,
            limits: &request,
            arena: &mut arena,
            deadline: None,
            cancel: None,
        };
        let Ok(outputs) = kernel.run(&mut ctx, &mut Inputs::new(args)) else { continue };
        let bytes: u64 = outputs.iter().map(Value::byte_len).sum();
        if bytes > limits.folded_constant_bytes || bytes > budget {
            continue;
        }
        budget -= bytes;
        for (id, value) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                known[id.index()] = Some(value);
            }
        }
    }
}
