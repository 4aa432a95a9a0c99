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

#[cfg(test)]
mod tests {
    use crate::attribute::Attribute;
    use crate::error::ErrorKind;
    use crate::graph::{Graph, Node};
    use crate::limits::{LoadLimits, RequestLimits};
    use crate::plan::{CompileOptions, PlanKind, RunOptions, compile};
    use crate::problem::Problems;
    use crate::tensor::Tensor;
    use crate::threads::Threads;
    use smallvec::SmallVec;

    /// Nodes each of which doubles what the one before it made of 4 KiB.
    fn doubling(nodes: usize) -> Graph {
        let mut graph = Graph::default();
        let few = Tensor::from_vec(&[1024], vec![0f32; 1024]).unwrap();
        let mut last = graph.add_constant("few", few);
        for i in 0..nodes {
            let twice = graph.add_value(format!("d{i}"), None);
            let mut node = Node {
                op: "Concat".into(),
                version: 13,
                inputs: [Some(last), Some(last)].into_iter().collect(),
                outputs: [Some(twice)].into_iter().collect(),
                ..Node::default()
            };
            node.attributes.set("axis", Attribute::Int(0));
            graph.nodes.push(node);
            last = twice;
        }
        graph.outputs = vec![last];
        graph
    }

    #[test]
    fn what_folding_would_make_too_large_is_left_to_the_run() {
        let limits = LoadLimits {
            folded_constant_bytes: 1 << 16,
            folded_total_bytes: 1 << 17,
            ..LoadLimits::default()
        };
        let options = CompileOptions { limits: &limits, plan: PlanKind::Optimised };
        let plan = compile(doubling(45), options, &mut Problems::default()).unwrap();
        // Four are folded: 8, 16, 32 and 64 KiB.
        assert_eq!((plan.steps().len(), plan.weight_bytes()), (41, 1 << 16));
        // The budget for all together ends it, too.
        let limits = LoadLimits { folded_total_bytes: 1 << 15, ..limits };
        let options = CompileOptions { limits: &limits, plan: PlanKind::Optimised };
        let plan = compile(doubling(45), options, &mut Problems::default()).unwrap();
        assert_eq!((plan.steps().len(), plan.weight_bytes()), (43, 1 << 14));
        let (threads, few) =
            (Threads::new(1), RequestLimits { run_bytes: 1 << 20, ..RequestLimits::default() });
        let options = RunOptions { threads: &threads, limits: &few, deadline: None, cancel: None };
        let e = plan.run(SmallVec::new(), &[], options).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
    }
}
